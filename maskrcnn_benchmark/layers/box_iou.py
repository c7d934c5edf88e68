"""IoU of every pair of boxes, in plain torch."""

import torch
from torch import Tensor


def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Overlap of xyxy boxes [..., M, 4] and [..., N, 4], widths counting pixels: IoU [..., M, N]."""
    sides1 = boxes1[..., 2:] - boxes1[..., :2] + 1
    sides2 = boxes2[..., 2:] - boxes2[..., :2] + 1
    first, second = boxes1[..., :, None, :], boxes2[..., None, :, :]
    intersection = _common_side(first, second, 0) * _common_side(first, second, 1)
    area1, area2 = sides1[..., 0] * sides1[..., 1], sides2[..., 0] * sides2[..., 1]
    return intersection / (area1[..., :, None] + area2[..., None, :] - intersection)


def _common_side(boxes1: Tensor, boxes2: Tensor, axis: int) -> Tensor:
    """Pixels along an axis that belong to both. (Axis by axis: with all anchors these are large tensors.)"""
    start = torch.maximum(boxes1[..., axis], boxes2[..., axis])
    return (torch.minimum(boxes1[..., axis + 2], boxes2[..., axis + 2]) - start + 1).clamp(min=0)
