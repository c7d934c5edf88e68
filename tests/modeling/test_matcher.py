"""Matching against a plain loop over predictions and ground truths."""

from __future__ import annotations

import pytest
import torch

from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import box_iou
from maskrcnn_benchmark.structures.targets import pad_targets


def match_slowly(quality: list[list[float]], high: float, low: float, allow_low_quality: bool) -> list[int]:
    """One prediction at a time, as the paper words it."""
    result = []
    for a in range(len(quality[0])):
        column = [row[a] for row in quality]
        best = max(range(len(column)), key=lambda g: column[g])
        match = best if column[best] >= high else (-1 if column[best] < low else -2)
        if allow_low_quality and any(row[a] == max(row) for row in quality):
            match = best
        result.append(match)
    return result


@pytest.mark.parametrize("allow_low_quality", [False, True])
def test_equals_slow_matching(allow_low_quality: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    matcher = Matcher(0.7, 0.3, allow_low_quality)
    for _ in range(50):
        quality = (
            torch.randint(0, 11, (4, 9), generator=generator).double() / 10
        )  # coarse, so that ties occur
        expected = match_slowly(quality.tolist(), 0.7, 0.3, allow_low_quality)
        assert matcher(quality).tolist() == expected


def test_unused_ground_truth_slots_change_nothing() -> None:
    quality = torch.rand(3, 4, 20, generator=torch.Generator().manual_seed(1))
    valid = torch.tensor([[True, True, False, False], [True, False, False, False], [False] * 4])
    matches = Matcher(0.7, 0.3, allow_low_quality_matches=True)(quality, valid)
    for i, count in enumerate([2, 1]):
        assert torch.equal(matches[i], Matcher(0.7, 0.3, True)(quality[i, :count]))
    assert (matches[2] == Matcher.BELOW_LOW_THRESHOLD).all(), "without ground truth all is background"


def test_no_ground_truth_at_all_is_background() -> None:
    assert Matcher(0.5, 0.5)(torch.zeros(0, 3)).tolist() == [-1, -1, -1]


def test_thresholds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="low_threshold"):
        Matcher(0.3, 0.7)


@pytest.mark.parametrize("allow_low_quality", [False, True])
@pytest.mark.parametrize("shape", [(400,), (3, 400)])
def test_boxes_match_as_the_matrix_of_their_overlaps_does(
    shape: tuple[int, ...], allow_low_quality: bool
) -> None:
    """Boxes of all images and of each, with ties, an image of many objects, one of few and one of none."""
    generator = torch.Generator().manual_seed(2)
    corners = torch.randint(0, 30, (*shape, 2), generator=generator).float()
    boxes = torch.cat([corners, corners + torch.randint(0, 12, (*shape, 2), generator=generator)], dim=-1)
    images = []
    for count in (11, 2, 0):
        gt_boxes = boxes.reshape(-1, 4)[:count] + 1.0
        images.append(BoxList(gt_boxes, (50, 50)))
        images[-1].add_field("labels", torch.ones(count, dtype=torch.int64))
    targets = pad_targets(images)
    matcher = Matcher(0.6, 0.3, allow_low_quality)
    matches = matcher.match(boxes, targets)
    assert torch.equal(matches, matcher(box_iou(targets.boxes, boxes), targets.valid))
    assert {-1, -2} <= set(matches.unique().tolist()) and (matches >= 0).any()
    assert (matches[2] == Matcher.BELOW_LOW_THRESHOLD).all()
