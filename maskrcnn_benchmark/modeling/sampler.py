"""Draws a fixed number of positives and negatives without knowing how many there are."""

from __future__ import annotations

import torch
from torch import Tensor

from maskrcnn_benchmark.structures.box_geometry import gather_rows

IGNORED = -1  # the label of what no loss counts


class BalancedSampler:
    """Random subset of at most `batch_size` entries an image, at most `positive_fraction` of them positive.

    Negatives fill what positives leave (Faster R-CNN, section 3.1.3). Shapes do not depend on the labels:
    unused slots are marked, and nothing waits for the device.
    """

    def __init__(self, batch_size: int, positive_fraction: float) -> None:
        self.batch_size = batch_size
        self.positive_fraction = positive_fraction

    def max_positives(self, num_candidates: int) -> int:
        """Slots that can hold positives; they come first."""
        return min(int(self.batch_size * self.positive_fraction), num_candidates)

    def __call__(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Samples from `labels` [N, A]: at least 1 positive, 0 negative, below 0 never drawn.

        Returns indices [N, R] and a mask [N, R] of the slots in use, R = min(batch_size, A). Positives come
        first. Draws from torch's global generator of the device.
        """
        num_candidates = labels.shape[1]
        draw = torch.rand(labels.shape, device=labels.device)
        positive_key = torch.where(labels >= 1, draw, -1.0)
        best, index = positive_key.topk(self.max_positives(num_candidates), dim=1)
        is_chosen = torch.zeros_like(labels, dtype=torch.bool).scatter_(1, index, best >= 0)
        key = torch.where(is_chosen, draw + 2, torch.where(labels == 0, draw, -1.0))
        best, index = key.topk(min(self.batch_size, num_candidates), dim=1)
        return index, best >= 0


def sample_labels(labels: Tensor, index: Tensor, used: Tensor) -> Tensor:
    """Labels [N, R] of sampled entries, -1 where the slot is unused."""
    return gather_rows(labels, index).masked_fill(~used, IGNORED)
