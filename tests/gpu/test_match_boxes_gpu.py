"""Matching of boxes to ground truth on a GPU: the CPU's numbers, no synchronisation, a CUDA graph."""

import pytest
import torch
from layers.match_cases import THRESHOLDS, anchors, cases, random_boxes, random_valid

from maskrcnn_benchmark.layers import match_boxes
from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.skipif("cuda" not in KERNEL_DEVICES, reason="the CUDA operators are not built here"),
]
CASES = cases()


def crowd(count: int) -> list[torch.Tensor]:
    """All anchors of an image and `count` objects in each of two."""
    return [anchors(8), random_boxes(2, count, seed=0, largest=60.0), random_valid(2, count, seed=1)]


@pytest.mark.parametrize("allow_low_quality", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_cpu(name, allow_low_quality):
    for high, low in THRESHOLDS:
        found = match_boxes(*(t.cuda() for t in CASES[name]), high, low, allow_low_quality)
        assert torch.equal(found.cpu(), match_boxes(*CASES[name], high, low, allow_low_quality))


@pytest.mark.parametrize("count", [1, 33, 257, 5000])
def test_a_crowd_equals_the_cpu(count):
    tensors = crowd(count)
    found = match_boxes(*(t.cuda() for t in tensors), 0.7, 0.3, True)
    assert torch.equal(found.cpu(), match_boxes(*tensors, 0.7, 0.3, True))


def test_ten_thousand_boxes_take_little_memory():
    tensors = [t.cuda() for t in crowd(10_000)]
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    matches = match_boxes(*tensors, 0.7, 0.3, True)
    assert torch.cuda.max_memory_allocated() - before < matches.nbytes + (1 << 20)


def test_does_not_synchronise():
    tensors = [t.cuda() for t in crowd(100)]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        match_boxes(*tensors, 0.7, 0.3, True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_runs_in_a_graph():
    tensors = [t.cuda() for t in crowd(100)]
    match_boxes(*tensors, 0.7, 0.3, True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        matches = match_boxes(*tensors, 0.7, 0.3, True)
    tensors[1].copy_(random_boxes(2, 100, seed=5))
    graph.replay()
    assert torch.equal(matches, match_boxes(*tensors, 0.7, 0.3, True))
