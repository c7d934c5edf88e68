"""Geometry of padded boxes as pure tensor functions. Widths count pixels: w = x2 - x1 + 1."""

from __future__ import annotations

import torch
from torch import Tensor


def clip_boxes(boxes: Tensor, image_hw: Tensor) -> Tensor:
    """Boxes [N, ..., 4] clipped to 0 .. size - 1 of their image; `image_hw` [N, 2] are (height, width)."""
    height_width = image_hw.to(boxes.dtype).view(-1, *[1] * (boxes.ndim - 2), 2)
    limit = (height_width - 1).flip(-1)
    limit = torch.cat([limit, limit], dim=-1)
    return torch.minimum(boxes.clamp(min=0), limit)


def gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows `index` [N, K] of `values` [N, M] or [N, M, C]: [N, K] or [N, K, C]."""
    if values.ndim == 2:
        return values.gather(1, index)
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
