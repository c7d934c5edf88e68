"""Assigns to each prediction the ground truth that overlaps it most."""

from __future__ import annotations

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.match_boxes import (
    BELOW_LOW_THRESHOLD,
    BETWEEN_THRESHOLDS,
    match_boxes,
    match_overlaps,
)
from maskrcnn_benchmark.structures.targets import Targets


class Matcher:
    """Thresholded best-overlap matching (Ren et al., Faster R-CNN, section 3.1.2).

    The result for a prediction is the index of its ground truth, BELOW_LOW_THRESHOLD (background) or
    BETWEEN_THRESHOLDS (ignored). With `allow_low_quality_matches` the best prediction of each ground truth is
    a match however low its overlap, ties included.
    """

    BELOW_LOW_THRESHOLD = BELOW_LOW_THRESHOLD
    BETWEEN_THRESHOLDS = BETWEEN_THRESHOLDS

    def __init__(
        self, high_threshold: float, low_threshold: float, allow_low_quality_matches: bool = False
    ) -> None:
        """An overlap of at least `high_threshold` matches, below `low_threshold` is background."""
        if low_threshold > high_threshold:
            raise ValueError(f"low_threshold {low_threshold} is above high_threshold {high_threshold}")
        self.high_threshold = high_threshold
        self.low_threshold = low_threshold
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor, gt_valid: Tensor | None = None) -> Tensor:
        """Matches [..., A] int64 from overlaps [..., G, A].

        `gt_valid` [..., G]: False for a ground-truth slot that is not in use. Where there is no ground truth
        every prediction is background.
        """
        quality = match_quality_matrix
        if quality.shape[-2] == 0:
            return torch.full(
                (*quality.shape[:-2], quality.shape[-1]), self.BELOW_LOW_THRESHOLD, device=quality.device
            )
        if gt_valid is not None:
            quality = quality.masked_fill(~gt_valid.unsqueeze(-1), -1.0)
        highest_of_gt = None
        if self.allow_low_quality_matches and quality.shape[-1] > 0:
            highest_of_gt = quality.amax(dim=-1, keepdim=True)
        return match_overlaps(quality, highest_of_gt, self.high_threshold, self.low_threshold)

    def match(self, boxes: Tensor, targets: Targets) -> Tensor:
        """Matches [N, A] int64 of boxes [A, 4] or [N, A, 4] by their IoU with the ground truth.

        Equal to the call on the matrix of all overlaps, which is never made: ten thousand boxes in an image
        take little memory. A pair whose overlap is NaN takes no part (see layers/match_boxes.py).
        """
        return match_boxes(
            boxes,
            targets.boxes,
            targets.valid,
            self.high_threshold,
            self.low_threshold,
            self.allow_low_quality_matches,
        )
