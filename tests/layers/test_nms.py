"""nms and batched_nms against a slow reference, torchvision, and their own fallback."""

import warnings

import pytest
import torch
import torchvision
from layers.nms_cases import (
    INF,
    NAN,
    batch_of,
    integer_boxes,
    nasty_boxes,
    needs_library,
    random_boxes,
    slow_batched_nms,
    slow_nms,
)

from maskrcnn_benchmark.layers import batched_nms, nms
from maskrcnn_benchmark.layers.nms import batched_nms_with_torchvision, nms_with_torchvision


def with_torchvision(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    raised = boxes.clone()
    raised[:, 2:] += 1
    return torchvision.ops.nms(raised, scores, threshold)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0, 2.0])
@pytest.mark.parametrize(
    "make",
    [
        lambda: random_boxes(150),
        lambda: random_boxes(300, seed=1, clusters=7),
        lambda: integer_boxes(120),
        lambda: nasty_boxes(200),
        lambda: nasty_boxes(37, seed=5),
        lambda: random_boxes(100, seed=2, clusters=5, dtype=torch.float64),
    ],
    ids=["random", "clustered", "integer", "nasty", "nasty-few", "float64"],
)
def test_nms_equals_the_slow_reference(make, threshold):
    boxes, scores = make()
    expected = slow_nms(boxes, scores, threshold)
    kept = nms(boxes, scores, threshold)
    assert kept.dtype == torch.int64
    assert kept.tolist() == expected
    assert nms_with_torchvision(boxes, scores, threshold).tolist() == expected


@pytest.mark.parametrize("n, clusters", [(1000, None), (8000, 100), (20000, None), (20000, 300)])
def test_nms_equals_torchvision_with_raised_corners(n, clusters):
    boxes, scores = random_boxes(n, seed=n, clusters=clusters)
    for threshold in (0.3, 0.7):
        assert torch.equal(nms(boxes, scores, threshold), with_torchvision(boxes, scores, threshold))


def test_threshold_is_exclusive():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 4]])  # 50 of 100 pixels
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.49999).tolist() == [0]


def test_widths_count_pixels():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 5], [10, 0, 19, 9]])  # 0.6 so, 45 / 81 otherwise
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert nms(boxes, scores, 0.58).tolist() == [0, 2]
    assert nms(boxes, scores, 0.0).tolist() == [0, 2]


def test_order_is_descending_score_then_index():
    boxes = torch.tensor([[0.0, 0, 5, 5], [20, 0, 25, 5], [40, 0, 45, 5], [60, 0, 65, 5], [0, 0, 5, 5]])
    scores = torch.tensor([-0.0, 0.0, INF, -INF, 0.0])
    assert nms(boxes, scores, 0.5).tolist() == [2, 0, 1, 3]


def test_nan_is_never_kept_and_suppresses_nothing():
    boxes = torch.tensor([[0.0, 0, 9, 9]]).repeat(4, 1)
    boxes[1, 2] = NAN
    scores = torch.tensor([NAN, 0.9, 0.8, 0.7])
    assert nms(boxes, scores, 0.5).tolist() == [2]
    assert nms(boxes[:2], scores[:2], 0.5).tolist() == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    boxes, scores = random_boxes(500, clusters=9)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    assert torch.equal(nms(boxes, scores, 0.5), nms(boxes.float(), scores.float(), 0.5))
    assert torch.equal(nms(boxes.float(), scores, 0.5), nms(boxes.float(), scores.float(), 0.5))


def test_autocast_changes_nothing():
    boxes, scores = random_boxes(300, clusters=9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = nms(boxes, scores, 0.5)
    assert torch.equal(inside, nms(boxes, scores, 0.5))


def test_layouts_and_arguments_left_alone():
    boxes, scores = random_boxes(200, clusters=9)
    expected, before = nms(boxes, scores, 0.5), boxes.clone()
    assert torch.equal(nms(boxes.t().contiguous().t(), scores.repeat_interleave(2)[::2], 0.5), expected)
    assert torch.equal(boxes, before)
    assert nms(torch.tensor([[3.0, 4, 5, 6]]).expand(50, 4), torch.ones(50), 0.9).tolist() == [0]


def test_empty_and_single():
    assert nms(torch.empty(0, 4), torch.empty(0), 0.5).shape == (0,)
    assert nms(torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([-7.0]), 0.5).tolist() == [0]


@pytest.mark.parametrize("make", [integer_boxes, nasty_boxes, random_boxes])
@pytest.mark.parametrize("num_groups, max_output", [(1, 500), (5, 40), (60, 7), (3, 1), (3, 0)])
def test_batched_nms_equals_the_slow_reference(make, num_groups, max_output):
    arguments = (*batch_of(make, 3, 110, num_groups), 0.4, max_output)
    expected_index, expected_keep = slow_batched_nms(*arguments)
    for function in (batched_nms, batched_nms_with_torchvision):
        index, keep = function(*arguments)
        assert (index.dtype, keep.dtype) == (torch.int64, torch.bool)
        assert torch.equal(keep, expected_keep)
        assert torch.equal(index, expected_index)


def test_batched_nms_in_one_group_is_nms():
    boxes, scores = random_boxes(3000, clusters=40)
    groups, valid = torch.zeros(1, 3000, dtype=torch.int64), torch.ones(1, 3000, dtype=torch.bool)
    index, keep = batched_nms(boxes[None], scores[None], groups, valid, 0.6, 3000)
    assert torch.equal(index[keep], nms(boxes, scores, 0.6))


def test_batched_nms_ignores_what_is_not_valid():
    boxes, scores, groups, valid = batch_of(random_boxes, 2, 400, 4, valid_share=0.02)
    expected = batched_nms(boxes, scores, groups, valid, 0.5, 30)
    boxes[~valid], scores[~valid], groups[~valid] = NAN, INF, 77
    for tensor, same in zip(batched_nms(boxes, scores, groups, valid, 0.5, 30), expected, strict=True):
        assert torch.equal(tensor, same)


@pytest.mark.parametrize("images, n", [(0, 5), (2, 0), (2, 5)])
def test_batched_nms_without_boxes(images, n):
    valid = torch.zeros(images, n, dtype=torch.bool)
    index, keep = batched_nms(torch.rand(images, n, 4), torch.rand(images, n), valid.long(), valid, 0.5, 6)
    assert index.shape == keep.shape == (images, 6)
    assert not index.any() and not keep.any()


@pytest.mark.parametrize("threads", [1, 2])
def test_batched_nms_does_not_depend_on_threads(threads):
    arguments = (*batch_of(nasty_boxes, 4, 300, 6), 0.5, 100)
    expected = slow_batched_nms(*arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        index, keep = batched_nms(*arguments)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(index, expected[0]) and torch.equal(keep, expected[1])


@needs_library
@pytest.mark.parametrize(
    "change, message",
    [
        ({"boxes": torch.rand(5, 3)}, r"boxes must have the shape \[K, 4\], got \[5, 3\]"),
        ({"scores": torch.rand(4)}, r"got scores \[4\] and boxes \[5, 4\]"),
        ({"boxes": torch.zeros(5, 4, dtype=torch.int64)}, "boxes must be float32.* got int64"),
        ({"threshold": -0.1}, "threshold must be 0 or more, got -0.1"),
        ({"threshold": NAN}, "threshold must be 0 or more"),
    ],
)
def test_nms_says_what_is_wrong(change, message):
    arguments = {"boxes": torch.rand(5, 4), "scores": torch.rand(5), "threshold": 0.5} | change
    with pytest.raises(RuntimeError, match=message):
        nms(**arguments)


@needs_library
@pytest.mark.parametrize(
    "change, message",
    [
        ({"boxes": torch.rand(5, 4)}, r"boxes must have the shape \[B, K, 4\], got \[5, 4\]"),
        ({"groups": torch.zeros(2, 4, dtype=torch.int64)}, r"got groups \[2, 4\] and boxes \[2, 5, 4\]"),
        ({"groups": torch.zeros(2, 5)}, "groups must be int64, got float32"),
        ({"valid": torch.zeros(2, 5)}, "valid must be bool, got float32"),
        ({"max_output": -1}, "max_output must be 0 or more, got -1"),
    ],
)
def test_batched_nms_says_what_is_wrong(change, message):
    valid = torch.ones(2, 5, dtype=torch.bool)
    arguments = {
        "boxes": torch.rand(2, 5, 4),
        "scores": torch.rand(2, 5),
        "groups": valid.long(),
        "valid": valid,
        "threshold": 0.5,
        "max_output": 3,
    }
    with pytest.raises(RuntimeError, match=message):
        batched_nms(**(arguments | change))


@needs_library
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(requires_grad):
    boxes, scores = random_boxes(40, clusters=5)
    boxes.requires_grad_(requires_grad)
    torch.library.opcheck(torch.ops.maskrcnn_benchmark.nms.default, (boxes, scores, 0.5))
    arguments = (*batch_of(random_boxes, 2, 30, 3), 0.5, 12)
    torch.library.opcheck(torch.ops.maskrcnn_benchmark.batched_nms.default, arguments)


@needs_library
def test_compiles_whole():
    arguments = batch_of(random_boxes, 2, 60, 3)

    def best_boxes(boxes, scores, groups, valid):
        index, keep = batched_nms(boxes * 2, scores.sigmoid(), groups, valid, 0.5, 10)
        return torch.where(keep[..., None], boxes.gather(1, index[..., None].expand(-1, -1, 4)), 0)

    compiled = torch.compile(best_boxes, fullgraph=True, backend="aot_eager")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compiled(*arguments)
    assert torch.equal(result, best_boxes(*arguments))


@needs_library
def test_single_form_compiles_with_dynamic_output():
    boxes, scores = random_boxes(60, clusters=5)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(lambda b, s: nms(b, s, 0.5) + 1, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(boxes, scores), nms(boxes, scores, 0.5) + 1)
