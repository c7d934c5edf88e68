"""The CUDA kernels (csrc/cuda/*.cuh) give the CPU operators' numbers when the host compiles and runs them.

cuda_runtime.h of this folder says how. The code that launches them (csrc/cuda/*.cu), streams, graphs, and
races between blocks are left to tests/gpu.
"""

import pytest
import torch
from layers import mask_cases, match_cases, nms_cases
from layers.roi_cases import FORMATS, SCALES, STRANGE_ROIS, TOLERANCE, UNUSABLE_ROIS, pyramid, random_rois

from maskrcnn_benchmark.layers import batched_nms, match_boxes, multilevel_roi_align, nms, rasterize_polygons

INF, NAN = float("inf"), float("nan")
ROI_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)  # by their number in roi_align.cpp
needs_one_order = pytest.mark.parametrize("run", ["ascending"], indirect=True)  # kernels without barriers


def nms_on_host(run, boxes, scores, threshold, rows_of_range=0):
    n = len(boxes)
    none = torch.empty(0)
    tensors = {"boxes": boxes, "scores": scores, "groups": none, "valid": none}
    tensors["threshold"] = torch.tensor([threshold], dtype=torch.float64)
    read = run("nms", tensors, [1, n, n, rows_of_range])
    return read("index", torch.int64)[: int(read("num_kept", torch.int32))]


def batched_nms_on_host(run, boxes, scores, groups, valid, threshold, max_output, rows_of_range=0):
    tensors = {"boxes": boxes, "scores": scores, "groups": groups, "valid": valid}
    tensors["threshold"] = torch.tensor([threshold], dtype=torch.float64)
    read = run("nms", tensors, [*scores.shape, max_output, rows_of_range])
    shape = (len(boxes), max_output)
    return read("index", torch.int64).view(shape), read("keep", torch.bool).view(shape)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize(
    "make, n",
    [
        (nms_cases.random_boxes, 1),
        (nms_cases.integer_boxes, 63),
        (nms_cases.random_boxes, 64),
        (nms_cases.integer_boxes, 65),
        (nms_cases.nasty_boxes, 200),
        (nms_cases.integer_boxes, 500),
        (nms_cases.random_boxes, 1100),
    ],
)
def test_nms(run, make, n, threshold):
    boxes, scores = make(n)
    assert torch.equal(nms_on_host(run, boxes, scores, threshold), nms(boxes, scores, threshold))


def test_nms_orders_scores_of_either_sign(run):
    scores = torch.tensor([-0.0, 0.0, -1.0, INF, -INF, -2.0, 0.0])
    boxes = torch.tensor([0.0, 0, 5, 5]) + 20 * torch.arange(len(scores))[:, None]
    assert nms_on_host(run, boxes, scores, 0.5).tolist() == [3, 0, 1, 6, 2, 5, 4]


@pytest.mark.parametrize("rows_of_range", [64, 192, 0])
def test_nms_in_ranges_of_rows(run, rows_of_range):
    """0: the launch's own, 2048."""
    boxes, scores = nms_cases.random_boxes(700 if rows_of_range else 2200, clusters=40)
    found = nms_on_host(run, boxes, scores, 0.6, rows_of_range)
    assert torch.equal(found, nms(boxes, scores, 0.6))


@pytest.mark.parametrize("make", [nms_cases.integer_boxes, nms_cases.nasty_boxes, nms_cases.random_boxes])
@pytest.mark.parametrize("num_groups, max_output", [(1, 500), (5, 40), (60, 7), (3, 1)])
@pytest.mark.parametrize("rows_of_range", [64, 0])
def test_batched_nms(run, make, num_groups, max_output, rows_of_range):
    boxes, scores, groups, valid = nms_cases.batch_of(make, 3, 290, num_groups)
    valid[1] = False  # an image without candidates
    valid[2, 50:] = False  # one with fewer than a tile
    arguments = boxes, scores, groups, valid, 0.4, max_output
    index, keep = batched_nms_on_host(run, *arguments, rows_of_range)
    expected_index, expected_keep = batched_nms(*arguments)
    assert torch.equal(keep, expected_keep)
    assert torch.equal(index, expected_index)


def check_match_boxes(run, boxes, gt_boxes, gt_valid, high, low, allow_low_quality):
    tensors = {"boxes": boxes, "gt_boxes": gt_boxes, "gt_valid": gt_valid}
    tensors["thresholds"] = torch.tensor([high, low])
    num_boxes = boxes.shape[-2]
    numbers = [*gt_valid.shape[:1], num_boxes, *gt_valid.shape[1:], boxes.dim() == 2, allow_low_quality]
    found = run("match_boxes", tensors, numbers)("matches", torch.int64).view(-1, num_boxes)
    assert torch.equal(found, match_boxes(boxes, gt_boxes, gt_valid, high, low, allow_low_quality))


MATCH_CASES = {name: case for name, case in match_cases.cases().items() if name not in ("no box", "no image")}


@pytest.mark.parametrize("allow_low_quality", [False, True])
@pytest.mark.parametrize("name", MATCH_CASES)
def test_match_boxes(run, name, allow_low_quality):
    check_match_boxes(run, *MATCH_CASES[name], 0.5, 0.3, allow_low_quality)
    check_match_boxes(run, *MATCH_CASES[name], 0.0, 0.0, allow_low_quality)


@pytest.mark.parametrize("num_boxes", [31, 32, 33, 255, 256, 257, 600])
@pytest.mark.parametrize("num_gt", [1, 31, 33, 256, 257, 530])
def test_match_boxes_in_tiles(run, num_boxes, num_gt):
    """Boxes and ground truths around a block's 256 and a slice's 32."""
    boxes = match_cases.random_boxes(2, num_boxes, seed=num_gt) + 5.0
    gt_boxes = match_cases.random_boxes(2, num_gt, seed=num_boxes)
    gt_boxes[:, 0] = 0.0  # the best box of this one would be memory of zeros
    valid = match_cases.random_valid(2, num_gt, seed=0) | (torch.arange(num_gt) == 0)
    check_match_boxes(run, boxes, gt_boxes, valid, 0.5, 0.3, True)


def in_memory(tensor, channels_last):
    """A [N, C, H, W] tensor's elements in the order of the format."""
    return tensor.permute(0, 2, 3, 1) if channels_last else tensor


def from_memory(elements, shape, channels_last):
    """The reverse: a flat tensor as [N, C, H, W]."""
    n, c, h, w = shape
    return elements.view(n, h, w, c).permute(0, 3, 1, 2) if channels_last else elements.view(shape)


def roi_align_on_host(run, features, rois, grad, scales, sampling_ratio, maps_last, bins_last, shift=0):
    """The pooled features, and the sums of the gradients that `grad` sends to the maps, in their type."""
    dtype = features[0].dtype
    sum_type = torch.float64 if dtype == torch.float64 else torch.float32
    sizes = [side for f in features for side in f.shape[2:]]
    numbers = [*features[0].shape[:2], *grad.shape[2:], sampling_ratio, *sizes]
    maps = {str(level): in_memory(f, maps_last) for level, f in enumerate(features)}
    tensors = {"rois": rois, "scales": torch.tensor(scales, dtype=torch.float64)}
    number = ROI_TYPES.index(dtype)
    read = run("roi_align", tensors | maps, [number, 0, maps_last, bins_last, shift, *numbers])
    pooled = from_memory(read("pooled", dtype), grad.shape, bins_last)
    tensors["grad"] = in_memory(grad, bins_last)
    read = run("roi_align", tensors, [number, 1, maps_last, bins_last, shift, *numbers])
    sums = [from_memory(read(str(i), sum_type), f.shape, maps_last) for i, f in enumerate(features)]
    return [pooled, *(s.to(dtype) for s in sums)]


def roi_align_on_cpu(features, rois, grad, scales, sampling_ratio, bins_last):
    maps = [f.clone().requires_grad_() for f in features]
    pooled = multilevel_roi_align(maps, rois, scales, grad.shape[2:], sampling_ratio, bins_last)
    return [pooled.detach(), *torch.autograd.grad(pooled, maps, grad)]


def check_roi_align(
    run,
    features,
    rois,
    scales=SCALES,
    sampling_ratio=2,
    maps_last=False,
    bins_last=True,
    shift=0,
    bins=(6, 8),
):
    dtype = features[0].dtype
    rois = rois.to(torch.float64 if dtype == torch.float64 else torch.float32)
    shape = (len(rois), features[0].shape[1], *bins)
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = roi_align_on_host(run, features, rois, grad, scales, sampling_ratio, maps_last, bins_last, shift)
    expected = roi_align_on_cpu(features, rois, grad, scales, sampling_ratio, bins_last)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE[dtype])


@needs_one_order
@pytest.mark.parametrize("dtype", ROI_TYPES, ids=str)
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("bins_last", [False, True])
@pytest.mark.parametrize("channels, sampling_ratio", [(7, 0), (24, 2)])
def test_roi_align(run, dtype, layout, bins_last, channels, sampling_ratio):
    """24 channels are read in vectors where they are neighbours, and take two blocks where they are not."""
    features = pyramid(channels=channels, dtype=dtype, layout=layout)
    rois = torch.cat([random_rois(20, batch=2), STRANGE_ROIS, UNUSABLE_ROIS])
    check_roi_align(
        run,
        features,
        rois,
        sampling_ratio=sampling_ratio,
        maps_last=layout == "channels_last",
        bins_last=bins_last,
    )


@needs_one_order
def test_roi_align_of_maps_at_any_address(run):
    """A map that does not start at a multiple of 16 bytes is read element by element."""
    check_roi_align(run, pyramid(channels=8), random_rois(5, batch=2), maps_last=True, shift=1)


@needs_one_order
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_of_absurd_boxes(run, sampling_ratio):
    big = [1e5, 1e9, 1e20, 3e38]
    rois = torch.tensor([[0, -b, -b, b, b] for b in big] + [[0, b, 0, b, 5] for b in big])
    for levels in (1, 3):
        features, scales = pyramid(channels=2)[:levels], SCALES[:levels]
        check_roi_align(run, features, rois, scales, sampling_ratio, bins=(2, 2))


@needs_one_order
@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 3, 0, 8)])
def test_roi_align_of_maps_without_pixels(run, shape):
    check_roi_align(run, [torch.empty(shape)], random_rois(4, batch=1), [0.25])


def polygon_regions(extent, seed=0, count=40):
    """The tensors of rasterize_polygons for regions of 15 instances; some regions have none."""
    coords, polygon_starts, instance_starts = mask_cases.random_instances(15, extent, seed)
    boxes = mask_cases.random_boxes(count, (extent, extent), seed)
    return {
        "coords": coords,
        "polygon_starts": polygon_starts.int(),
        "instance_starts": instance_starts.int(),
        "instance": torch.arange(count) % 18 - 1,
        "boxes": boxes,
    }


def rasterize_on_host(run, regions, size):
    return run("rasterize_polygons", regions, [size])("masks", torch.uint8).view(-1, size, size)


@pytest.mark.parametrize(
    "extent, size, count", [(6, 7, 40), (60, 16, 40), (900, 28, 40), (5000, 57, 10), (900, 256, 5)]
)
def test_rasterize_polygons(run, extent, size, count):
    regions = polygon_regions(extent, seed=size, count=count)
    assert torch.equal(rasterize_on_host(run, regions, size), rasterize_polygons(**regions, size=size))


def test_rasterize_polygons_that_are_not_finite(run):
    regions = polygon_regions(60)
    regions["coords"][::5] = torch.tensor([NAN, INF])
    regions["coords"][1::7] = 3e38
    regions["boxes"][::7, 2] = NAN
    regions["boxes"][1::7, 3] = INF
    assert torch.equal(rasterize_on_host(run, regions, 28), rasterize_polygons(**regions, size=28))


@pytest.mark.parametrize("name", ["polygon_starts", "instance_starts"])
def test_rasterize_polygons_reads_only_vertices_that_exist(run, name):
    """Whatever the offsets say."""
    regions = polygon_regions(60)
    for offsets in (regions[name] + 10_000, regions[name] - 10_000):
        assert not rasterize_on_host(run, regions | {name: offsets}, 28).any()
    generator = torch.Generator().manual_seed(0)
    offsets = torch.randint(-5, 200, regions[name].shape, generator=generator, dtype=torch.int32)
    assert rasterize_on_host(run, regions | {name: offsets}, 28).max() <= 1
