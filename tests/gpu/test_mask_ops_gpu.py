"""Polygon rasterisation on a GPU: the CPU's pixels, no synchronisation, capture in a CUDA graph."""

import pytest
import torch
from layers.mask_cases import random_boxes, random_instances, smooth_masks

from maskrcnn_benchmark.layers import paste_masks_rle, rasterize_polygons
from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.skipif("cuda" not in KERNEL_DEVICES, reason="the CUDA operators are not built here"),
]


def regions(extent: int, seed: int = 0) -> list[torch.Tensor]:
    """The tensors of rasterize_polygons for 100 regions of 40 instances; some regions have none."""
    boxes = random_boxes(100, (extent, extent), seed)
    polygons = [t.int() if i else t for i, t in enumerate(random_instances(40, extent, seed))]
    return [*polygons, torch.arange(100) % 43 - 1, boxes]


@pytest.mark.parametrize("extent", [6, 60, 900, 5000])
@pytest.mark.parametrize("size", [7, 14, 28, 57, 256])
def test_equals_the_cpu(extent, size):
    tensors = regions(extent, seed=size)
    masks = rasterize_polygons(*(t.cuda() for t in tensors), size)
    assert torch.equal(masks.cpu(), rasterize_polygons(*tensors, size))


def test_survives_what_is_not_finite():
    tensors = regions(60)
    tensors[0][::5] = torch.tensor([float("nan"), float("inf")])
    tensors[4][::7, 2] = float("nan")
    masks = rasterize_polygons(*(t.cuda() for t in tensors), 28)
    assert masks.max().item() <= 1


def test_offsets_out_of_range_read_nothing():
    tensors = [t.cuda() for t in regions(60)]
    tensors[1] += 10_000
    assert rasterize_polygons(*tensors, 28).eq(0).all()


def test_does_not_synchronise():
    tensors = [t.cuda() for t in regions(60)]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        rasterize_polygons(*tensors, 28)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_capture_in_a_graph():
    tensors = [t.cuda() for t in regions(60)]
    rasterize_polygons(*tensors, 28)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        masks = rasterize_polygons(*tensors, 28)
    tensors[3].copy_(tensors[3].roll(5))
    graph.replay()
    assert torch.equal(masks, rasterize_polygons(*tensors, 28))


def test_masks_on_a_gpu_are_pasted_by_the_cpu():
    masks, boxes = smooth_masks(5, 28), random_boxes(5, (60, 80))
    assert paste_masks_rle(masks.cuda(), boxes.cuda(), (60, 80)) == paste_masks_rle(masks, boxes, (60, 80))
