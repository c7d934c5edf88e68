"""Compares detections or proposals as sets: one to one, whatever the order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BOX_TOLERANCE = 0.01  # pixels
SCORE_TOLERANCE = 1e-5


def assert_same_boxes(
    found: Sequence[Tensor],
    expected: Sequence[Tensor],
    box_tolerance: float = BOX_TOLERANCE,
    score_tolerance: float = SCORE_TOLERANCE,
) -> Tensor:
    """Fails unless each expected box is found exactly once, and nothing else is.

    Both hold boxes [n, 4], scores [n] and labels [n].

    Returns the index of each expected box among the found ones.
    """
    boxes, scores, labels = found
    assert len(boxes) == len(expected[0]), f"{len(boxes)} boxes found, {len(expected[0])} expected"
    free = torch.ones(len(boxes), dtype=torch.bool)
    index = []
    for i, (box, score, label) in enumerate(zip(*expected, strict=True)):
        distance = (boxes - box).abs().amax(dim=1)
        difference = (scores - score).abs()
        fits = free & (labels == label) & (distance <= box_tolerance) & (difference <= score_tolerance)
        if not fits.any():
            nearest = int((distance + 1e3 * (labels != label)).argmin())
            raise AssertionError(
                f"expected {i}: {box.tolist()} {score.item():.7f} of {label.item()} is not found; nearest: "
                f"{boxes[nearest].tolist()} {scores[nearest].item():.7f} of {labels[nearest].item()}"
            )
        chosen = int(torch.where(fits, distance + difference, torch.inf).argmin())
        free[chosen] = False
        index.append(chosen)
    return torch.tensor(index, dtype=torch.int64)


def assert_same_proposals(found: Sequence[Tensor], expected: Sequence[Tensor]) -> Tensor:
    """The same for boxes with scores and no labels."""
    none, other = torch.zeros(len(found[0])), torch.zeros(len(expected[0]))
    return assert_same_boxes((*found, none), (*expected, other))


def assert_descending(scores: Tensor) -> None:
    """Fails unless the scores descend."""
    assert (scores.diff() <= 0).all(), "scores do not descend"
