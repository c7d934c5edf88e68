"""Box-regression losses on decoded boxes: how far a box [..., 4] is from where it should be, [...].

Boxes are xyxy and their sides count pixels, w = x2 - x1 + 1, as everywhere here: what another library calls a
box of sides x2 - x1 is the same box with 1 added to x2 and y2. Everything is computed in the dtype of the
boxes, which callers keep at float32 or wider. A target has sides greater than zero; a prediction may have
collapsed to zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.losses import smooth_l1

EPS = 1e-7  # keeps 0 / 0 at 0
MIN_IOU = 1e-6  # below this the logarithm of the IoU is cut off
BOUNDED_IOU_BETA = 0.2
BOUNDED_IOU_EPS = 1e-3  # pixels


class Overlap(NamedTuple):
    """Of pairs of boxes: IoU [...], area of the union [...], sides of the hull around both [..., 2]."""

    iou: Tensor
    union: Tensor
    hull: Tensor


def overlap(predictions: Tensor, targets: Tensor) -> Overlap:
    """The overlap of each predicted box [..., 4] with its target [..., 4]."""
    inner = torch.minimum(predictions[..., 2:], targets[..., 2:]) + 1
    inner = inner - torch.maximum(predictions[..., :2], targets[..., :2])
    intersection = inner.clamp(min=0).prod(dim=-1)
    union = sides(predictions).prod(dim=-1) + sides(targets).prod(dim=-1) - intersection
    hull = torch.maximum(predictions[..., 2:], targets[..., 2:]) + 1
    hull = hull - torch.minimum(predictions[..., :2], targets[..., :2])
    return Overlap(intersection / (union + EPS), union, hull)


def sides(boxes: Tensor) -> Tensor:
    """Widths and heights [..., 2] in pixels."""
    return boxes[..., 2:] - boxes[..., :2] + 1


def iou_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """-ln(IoU) (Yu et al. 2016, UnitBox); no gradient where boxes do not touch."""
    return -overlap(predictions, targets).iou.clamp(min=MIN_IOU).log()


def giou_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """1 - GIoU (Rezatofighi et al. 2019, algorithm 2): also pulls boxes together that do not touch."""
    iou, union, hull = overlap(predictions, targets)
    area = hull.prod(dim=-1)
    return 1 - iou + (area - union) / (area + EPS)


def diou_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """1 - IoU + (distance of the centres / diagonal of the hull) squared (Zheng et al. 2020, eq. 7)."""
    iou, _, hull = overlap(predictions, targets)
    distance = (predictions[..., :2] + predictions[..., 2:] - targets[..., :2] - targets[..., 2:]) / 2
    return 1 - iou + distance.square().sum(dim=-1) / (hull.square().sum(dim=-1) + EPS)


def ciou_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """The DIoU loss plus the difference of the aspect ratios (Zheng et al. 2020, eq. 10).

    The factor of the difference, which grows with the IoU, is no part of the gradient.
    """
    difference = aspect_difference(predictions, targets)
    with torch.no_grad():
        iou = overlap(predictions, targets).iou
        factor = difference / (1 - iou + difference + EPS)
    return diou_loss(predictions, targets) + factor * difference


def aspect_difference(predictions: Tensor, targets: Tensor) -> Tensor:
    """Squared difference of atan(width / height), scaled to 0..1 (Zheng et al. 2020, eq. 9)."""
    predicted, target = (
        torch.atan2(*sides(boxes).clamp(min=EPS).unbind(-1)) for boxes in (predictions, targets)
    )
    return 4 / math.pi**2 * (predicted - target).square()


def bounded_iou_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Smooth L1 of how far below 1 each of x, y, w, h alone keeps the IoU, summed over the four.

    Tychsen-Smith and Petersson 2018, "Improving Object Localization with Fitness NMS and Bounded IoU Loss".

    For each of them, the best IoU that the others could still reach is its bound: with target side t and
    distance d of the centres (t - 2 d) / (t + 2 d), and for a side s min(s / t, t / s).
    """
    predicted_sides, target_sides = sides(predictions), sides(targets)
    distance = (predictions[..., :2] + predictions[..., 2:] - targets[..., :2] - targets[..., 2:]).abs() / 2
    position = (target_sides - 2 * distance) / (target_sides + 2 * distance + BOUNDED_IOU_EPS)
    size = torch.minimum(
        target_sides / (predicted_sides + BOUNDED_IOU_EPS), predicted_sides / (target_sides + BOUNDED_IOU_EPS)
    )
    loss = 1 - torch.cat([position.clamp(min=0), size], dim=-1)
    return smooth_l1(loss, torch.zeros_like(loss), BOUNDED_IOU_BETA).sum(dim=-1)
