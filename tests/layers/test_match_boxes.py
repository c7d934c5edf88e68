"""Matching of boxes to ground truth against a slow reference, against its fallback, and what it takes."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from layers.match_cases import (
    NAN,
    THRESHOLDS,
    anchors,
    cases,
    nasty_boxes,
    random_boxes,
    random_valid,
    slow_matches,
)

from maskrcnn_benchmark.benchmark.measure.memory import peak_bytes_of
from maskrcnn_benchmark.layers import match_boxes
from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES
from maskrcnn_benchmark.layers.box_iou import box_iou
from maskrcnn_benchmark.layers.match_boxes import OVERLAPS_AT_ONCE, match_in_chunks

CASES = cases()
needs_library = pytest.mark.skipif("cpu" not in KERNEL_DEVICES, reason="the operators are not built here")
restoring = pytest.mark.parametrize("allow_low_quality", [False, True])


def match_by_matrix(boxes, gt_boxes, gt_valid, high, low, allow_low_quality):
    """Through the overlaps of all pairs, as a loss did before there was an operator."""
    quality = box_iou(gt_boxes, boxes).masked_fill(~gt_valid.unsqueeze(-1), -1.0)
    assert not quality.isnan().any()
    best, index = quality.max(dim=-2)
    matches = index.masked_fill(best < high, -2).masked_fill(best < low, -1)
    if allow_low_quality:
        highest = quality.amax(dim=-1, keepdim=True)
        matches = torch.where(((quality == highest) & (highest >= 0)).any(dim=-2), index, matches)
    return matches


def crowd(images: int, count: int, seed: int = 0):
    """All anchors of an image, and many small objects on it."""
    return (
        anchors(16),
        random_boxes(images, count, seed=seed, largest=60.0),
        random_valid(images, count, seed),
    )


@restoring
@pytest.mark.parametrize("name", CASES)
def test_equals_the_slow_reference(name, allow_low_quality):
    for high, low in THRESHOLDS:
        matches = match_boxes(*CASES[name], high, low, allow_low_quality)
        expected = slow_matches(*CASES[name], high, low, allow_low_quality)
        assert matches.dtype == torch.int64
        assert torch.equal(matches, expected), (high, low)


def test_many_nasty_inputs():
    for seed in range(20):
        boxes, gt_boxes = nasty_boxes(2, 70, seed=seed), nasty_boxes(2, 9, seed=100 + seed)
        arguments = (boxes, gt_boxes, random_valid(2, 9, seed), 0.4, 0.1, bool(seed % 3))
        assert torch.equal(match_boxes(*arguments), slow_matches(*arguments)), seed


@needs_library
@restoring
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("at_once", [1000, OVERLAPS_AT_ONCE])
def test_fallback_gives_the_same(name, allow_low_quality, at_once, monkeypatch):
    monkeypatch.setitem(match_in_chunks.__globals__, "OVERLAPS_AT_ONCE", at_once)
    for high, low in THRESHOLDS:
        arguments = (*CASES[name], high, low, allow_low_quality)
        assert torch.equal(match_in_chunks(*arguments), match_boxes(*arguments)), (high, low)


@restoring
@pytest.mark.parametrize("high, low", [(0.7, 0.3), (0.5, 0.5)])
def test_all_anchors_of_a_crowded_image(high, low, allow_low_quality):
    """Most ground truths lie apart from a block of anchors. The numbers are those of the whole matrix."""
    arguments = (*crowd(2, 150), high, low, allow_low_quality)
    matches = match_boxes(*arguments)
    assert torch.equal(matches, match_by_matrix(*arguments))
    assert (matches >= 0).any() and (matches == -1).any() and (high == low or (matches == -2).any())


@pytest.mark.parametrize("count", [1, 63, 64, 65, 255, 256, 257, 700])
@pytest.mark.parametrize("shared", [False, True])
def test_counts_around_a_block_and_a_task(count, shared):
    """64 boxes and 256."""
    boxes = random_boxes(*([] if shared else [2]), count, seed=count)
    gt_boxes, valid = random_boxes(2, 40, seed=1), random_valid(2, 40, seed=2)
    arguments = (boxes, gt_boxes, valid, 0.5, 0.2, True)
    assert torch.equal(match_boxes(*arguments), match_by_matrix(*arguments))


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_does_not_depend_on_threads(threads):
    inputs = [(*crowd(2, 60), 0.7, 0.3, True), (*CASES["not finite"], 0.5, 0.4, True)]
    expected = [match_in_chunks(*case) for case in inputs]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = [match_boxes(*case) for case in inputs]
    finally:
        torch.set_num_threads(before)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_thresholds_are_rounded_to_float32():
    """An overlap of 7 / 10 in float32 is below 0.7 in float64."""
    boxes = torch.tensor([[0.0, 0, 6, 0], [0.0, 0, 2, 0]])
    gt_boxes, valid = torch.tensor([[[0.0, 0, 9, 0]]]), torch.ones(1, 1, dtype=torch.bool)
    assert box_iou(gt_boxes[0], boxes)[0, 0].item() < 0.7
    assert match_boxes(boxes, gt_boxes, valid, 0.7, 0.3).tolist() == [[0, -2]]


@pytest.mark.parametrize("dtypes", [("float64", "float64"), ("float64", "float32"), ("bfloat16", "bfloat16")])
def test_other_dtypes(dtypes):
    boxes, gt_boxes, valid = crowd(2, 30)
    boxes, gt_boxes = (b.to(getattr(torch, name)) for b, name in zip((boxes, gt_boxes), dtypes, strict=True))
    arguments = (boxes, gt_boxes, valid, 0.5, 0.3, True)
    assert torch.equal(match_boxes(*arguments), match_by_matrix(*arguments))


def test_boxes_may_be_views():
    """Neither dense nor at an address that is a multiple of a vector's size."""
    boxes, gt_boxes, valid = CASES["boxes of each image"]
    apart = torch.nn.functional.pad(boxes, (1, 2)).transpose(0, 1).contiguous().transpose(0, 1)[..., 1:5]
    gts_apart = torch.nn.functional.pad(gt_boxes, (1, 0))[..., 1:]
    valid_apart = valid.t().contiguous().t()
    assert not (apart.is_contiguous() or gts_apart.is_contiguous() or valid_apart.is_contiguous())
    found = match_boxes(apart, gts_apart, valid_apart, 0.5, 0.3, True)
    assert torch.equal(found, match_boxes(boxes, gt_boxes, valid, 0.5, 0.3, True))


def test_nan_neither_matches_nor_hides_others():
    """A ground truth of NaN changes nothing; a box of NaN is background."""
    boxes, gt_boxes, valid = (tensor.clone() for tensor in CASES["boxes of each image"])
    gt_boxes[0, 4, 1] = NAN
    boxes[1, 20] = NAN
    valid[0, 4] = True
    found = match_boxes(boxes, gt_boxes, valid, 0.5, 0.3, True)
    valid[0, 4] = False
    assert torch.equal(found, match_boxes(boxes, gt_boxes, valid, 0.5, 0.3, True))
    assert not (found[0] == 4).any() and found[1, 20] == -1


ALL_CASES = """
import torch
from layers.match_cases import cases, slow_matches
from maskrcnn_benchmark.layers.match_boxes import match_boxes, match_in_chunks
for name, case in cases().items():
    arguments = (*case, 0.5, 0.3, True)
    expected = slow_matches(*arguments)
    assert torch.equal(match_boxes(*arguments), expected), name
    assert torch.equal(match_in_chunks(*arguments), expected), name
"""


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_does_not_depend_on_torchs_instructions(capability):
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests.parent), str(tests)])
    told = subprocess.run(
        [sys.executable, "-c", ALL_CASES],
        env=os.environ | {"PYTHONPATH": path, "ATEN_CPU_CAPABILITY": capability},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert told.returncode == 0, told.stderr


@needs_library
def test_ten_thousand_boxes_take_little_memory():
    """Their overlaps with 200,000 anchors would take 7.5 GiB."""
    boxes = random_boxes(200_000, seed=0, largest=20.0)
    boxes = boxes[(boxes[:, 1] // 20 * 1000 + boxes[:, 0]).argsort()]  # neighbours lie close together
    gt_boxes, valid = random_boxes(1, 10_000, seed=1, largest=20.0), torch.ones(1, 10_000, dtype=torch.bool)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    matches = match_boxes(boxes, gt_boxes, valid, 0.7, 0.3, True)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert matches.unique().numel() > 8000  # -1, -2 and most of the ground truth
    assert grown_kib < 32 * 1024


def test_fallback_takes_bounded_memory(monkeypatch):
    at_once = 1 << 16
    monkeypatch.setitem(match_in_chunks.__globals__, "OVERLAPS_AT_ONCE", at_once)
    boxes, gt_boxes, valid = crowd(2, 100)
    peak = peak_bytes_of(lambda: match_in_chunks(boxes, gt_boxes, valid, 0.7, 0.3, True))
    if peak is None:
        pytest.skip("this torch's profiler sees no allocations")
    matches = 2 * len(boxes) * 8
    assert peak < 6 * 4 * at_once + 2 * matches < 4 * valid.numel() * len(boxes)


@needs_library
@pytest.mark.parametrize(
    "change, message",
    [
        ({"boxes": torch.rand(5, 3)}, r"boxes must have the shape \[A, 4\], .* got boxes \[5, 3\]"),
        ({"boxes": torch.rand(3, 5, 4)}, r"got boxes \[3, 5, 4\] and gt_boxes \[2, 6, 4\]"),
        ({"boxes": torch.rand(4)}, r"got boxes \[4\]"),
        ({"gt_boxes": torch.rand(6, 4)}, r"gt_boxes must have the shape \[N, G, 4\], got \[6, 4\]"),
        ({"gt_valid": torch.ones(2, 5, dtype=torch.bool)}, r"got gt_valid \[2, 5\] and gt_boxes \[2, 6, 4\]"),
        ({"boxes": torch.rand(5, 4).double()}, "boxes must be float32, got float64"),
        ({"gt_boxes": torch.rand(2, 6, 4).bfloat16()}, "gt_boxes must be float32, got bfloat16"),
        ({"gt_valid": torch.ones(2, 6)}, "gt_valid must be bool, got float32"),
        ({"low_threshold": 0.8}, "low_threshold must not be above .* got low 0.8 and high 0.7"),
        ({"high_threshold": NAN}, "low_threshold must not be above"),
    ],
)
def test_says_what_is_wrong(change, message):
    arguments = {
        "boxes": torch.rand(5, 4),
        "gt_boxes": torch.rand(2, 6, 4),
        "gt_valid": torch.ones(2, 6, dtype=torch.bool),
        "high_threshold": 0.7,
        "low_threshold": 0.3,
        "allow_low_quality": True,
    }
    with pytest.raises(RuntimeError, match=message):
        torch.ops.maskrcnn_benchmark.match_boxes(**(arguments | change))


def test_fallback_refuses_thresholds_in_the_wrong_order():
    with pytest.raises(RuntimeError, match=r"low_threshold 0.8 is above high_threshold 0.7"):
        match_in_chunks(*CASES["anchors"], 0.7, 0.8, True)


@needs_library
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("name", ["anchors", "boxes of each image"])
def test_opcheck(name, requires_grad):
    boxes, gt_boxes, valid = CASES[name]
    boxes = boxes.clone().requires_grad_(requires_grad)
    torch.library.opcheck(
        torch.ops.maskrcnn_benchmark.match_boxes.default, (boxes, gt_boxes, valid, 0.7, 0.3, True)
    )


@needs_library
def test_compiles_whole():
    boxes, gt_boxes, valid = CASES["anchors"]

    def matched_boxes(boxes, gt_boxes, valid):
        matches = match_boxes(boxes + 1, gt_boxes, valid, 0.7, 0.3, True).clamp(min=0)
        return gt_boxes.gather(1, matches.unsqueeze(-1).expand(-1, -1, 4))

    compiled = torch.compile(matched_boxes, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(boxes, gt_boxes, valid), matched_boxes(boxes, gt_boxes, valid))
