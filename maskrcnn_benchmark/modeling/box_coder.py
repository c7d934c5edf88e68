"""Boxes as regression values relative to a reference, and back (Girshick et al., R-CNN, appendix C)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BBOX_XFORM_CLIP = math.log(1000.0 / 16)


class BoxCoder:
    """Encodes xyxy boxes as (dx, dy, dw, dh) relative to reference boxes, and decodes them.

    Widths count pixels. dw and dh are clamped at `bbox_xform_clip` before the exponential, so that an
    untrained network cannot overflow.
    """

    def __init__(
        self, weights: tuple[float, float, float, float], bbox_xform_clip: float = BBOX_XFORM_CLIP
    ) -> None:
        """`weights`: factors of dx, dy, dw, dh that bring their spread near one."""
        self.weights = weights
        self.bbox_xform_clip = bbox_xform_clip

    def encode(self, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
        """Deltas [..., 4] that turn `proposals` [..., 4] into `reference_boxes` [..., 4]."""
        proposal_sides = proposals[..., 2:] - proposals[..., :2] + 1
        proposal_centers = proposals[..., :2] + 0.5 * proposal_sides
        reference_sides = reference_boxes[..., 2:] - reference_boxes[..., :2] + 1
        reference_centers = reference_boxes[..., :2] + 0.5 * reference_sides
        wx, wy, ww, wh = self.weights
        shift = (reference_centers - proposal_centers) / proposal_sides
        scale = torch.log(reference_sides / proposal_sides)
        return torch.stack(
            [wx * shift[..., 0], wy * shift[..., 1], ww * scale[..., 0], wh * scale[..., 1]], dim=-1
        )

    def decode(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """Boxes of the shape of `rel_codes` [..., 4 * k] (k boxes a row) from references `boxes` [..., 4]."""
        codes = rel_codes.unflatten(-1, (-1, 4))
        boxes = boxes.to(codes.dtype).unsqueeze(-2)
        sides = boxes[..., 2:] - boxes[..., :2] + 1
        centers = boxes[..., :2] + 0.5 * sides
        wx, wy, ww, wh = self.weights
        dx, dy = codes[..., 0] / wx, codes[..., 1] / wy
        dw = (codes[..., 2] / ww).clamp(max=self.bbox_xform_clip)
        dh = (codes[..., 3] / wh).clamp(max=self.bbox_xform_clip)
        center_x, center_y = dx * sides[..., 0] + centers[..., 0], dy * sides[..., 1] + centers[..., 1]
        width, height = torch.exp(dw) * sides[..., 0], torch.exp(dh) * sides[..., 1]
        decoded = [
            center_x - 0.5 * width,
            center_y - 0.5 * height,
            center_x + 0.5 * width - 1,
            center_y + 0.5 * height - 1,
        ]
        return torch.stack(decoded, dim=-1).flatten(-2)
