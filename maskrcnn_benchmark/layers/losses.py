"""Losses without a detector in them."""

from __future__ import annotations

import torch
from torch import Tensor


def smooth_l1(predictions: Tensor, targets: Tensor, beta: float) -> Tensor:
    """Elementwise smooth L1 (Girshick, Fast R-CNN, section 2.3): quadratic below `beta`, linear above."""
    distance = (predictions - targets).abs()
    return torch.where(distance < beta, 0.5 * distance * distance / beta, distance - 0.5 * beta)


def smooth_l1_loss(input: Tensor, target: Tensor, beta: float = 1.0 / 9, size_average: bool = True) -> Tensor:
    """The family's signature: mean of `smooth_l1`, or its sum."""
    loss = smooth_l1(input, target, beta)
    return loss.mean() if size_average else loss.sum()
