"""Anchors: reference boxes at every position of every feature map (Faster R-CNN, section 3.1.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode


class BufferList(nn.Module):
    """Tensors as buffers 0, 1, ... of a module, the names that published checkpoints use."""

    def __init__(self, buffers: Sequence[Tensor]) -> None:
        super().__init__()
        for i, buffer in enumerate(buffers):
            self.register_buffer(str(i), buffer)

    def __len__(self) -> int:
        return len(self._buffers)

    def __getitem__(self, index: int) -> Tensor:
        return self.get_buffer(str(index))


class AnchorGenerator(nn.Module):
    """Anchors of L feature maps.

    With one stride, all `sizes` stand at every position of the one map; with several, level l has the anchors
    of `sizes[l]` (a number or several).
    """

    def __init__(
        self,
        sizes: Sequence[float | Sequence[float]] = (128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        anchor_strides: Sequence[int] = (8, 16, 32),
        straddle_thresh: int = 0,
    ) -> None:
        """`sizes` and strides in pixels, `aspect_ratios` height over width.

        `straddle_thresh`: pixels an anchor may reach out of its image and still be trained on; below 0, any.
        """
        super().__init__()
        if len(anchor_strides) == 1:
            flat = np.concatenate([np.ravel(size) for size in sizes])
            cells = [cell_anchors(anchor_strides[0], tuple(flat), aspect_ratios)]
        else:
            if len(sizes) != len(anchor_strides):
                raise ValueError(f"one anchor size a level: got sizes {sizes} for strides {anchor_strides}")
            cells = [
                cell_anchors(stride, tuple(np.ravel(size)), aspect_ratios)
                for stride, size in zip(anchor_strides, sizes, strict=True)
            ]
        self.strides = tuple(anchor_strides)
        self.cell_anchors = BufferList(cells)
        self.straddle_thresh = straddle_thresh

    def num_anchors_per_location(self) -> list[int]:
        """Anchors at each position, one number a level."""
        return [len(self.cell_anchors[i]) for i in range(len(self.cell_anchors))]

    def forward(self, feature_hw: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Anchors [Hl * Wl * A, 4] xyxy of each level, row by row, the anchors of a position together."""
        levels = zip(feature_hw, self.strides, range(len(self.strides)), strict=True)
        return [
            grid_anchors(self.cell_anchors[i], height, width, stride) for (height, width), stride, i in levels
        ]

    def visibility(self, anchors: Tensor, image_hw: Tensor) -> Tensor:
        """Which anchors [A, 4] lie inside each image [N, 2] up to the straddle threshold: bool [N, A]."""
        if self.straddle_thresh < 0:
            return torch.ones((len(image_hw), len(anchors)), dtype=torch.bool, device=anchors.device)
        limit = image_hw.flip(-1).unsqueeze(1) + self.straddle_thresh  # [N, 1, 2] (w, h)
        starts_inside = (anchors[:, :2] >= -self.straddle_thresh).all(dim=-1)
        return starts_inside & (anchors[:, 2:] < limit).all(dim=-1)


def cell_anchors(stride: float, sizes: Sequence[float], aspect_ratios: Sequence[float]) -> Tensor:
    """Anchors [len(ratios) * len(sizes), 4] around the window (0, 0, stride - 1, stride - 1), in float32.

    The width and height for each ratio are rounded as numpy rounds (halves to even) before they are scaled;
    every published model was trained on exactly these.
    """
    center = 0.5 * (stride - 1)
    ratios = np.asarray(aspect_ratios, dtype=np.float64)
    widths = np.round(np.sqrt(stride * stride / ratios))
    heights = np.round(widths * ratios)
    scales = np.asarray(sizes, dtype=np.float64) / stride
    half_w = 0.5 * (np.outer(widths, scales).ravel() - 1)
    half_h = 0.5 * (np.outer(heights, scales).ravel() - 1)
    boxes = np.stack([center - half_w, center - half_h, center + half_w, center + half_h], axis=1)
    return torch.from_numpy(boxes).float()


def grid_anchors(cells: Tensor, height: int, width: int, stride: int) -> Tensor:
    """`cells` [A, 4] repeated at every position of a height x width map: [height * width * A, 4]."""
    shift_x = torch.arange(width, device=cells.device, dtype=torch.float32) * stride
    shift_y = torch.arange(height, device=cells.device, dtype=torch.float32) * stride
    grid_y, grid_x = torch.meshgrid(shift_y, shift_x, indexing="ij")
    shifts = torch.stack([grid_x, grid_y, grid_x, grid_y], dim=-1).view(-1, 1, 4)
    return (shifts + cells).view(-1, 4)


def check_anchor_strides(key: str, anchor_strides: Sequence[int], strides: Sequence[int] | None) -> None:
    """Refuses anchors for other strides than those of the backbone's maps (None: not known).

    `key`: the config key that has the anchors' strides.
    """
    if strides is not None and tuple(anchor_strides) != tuple(strides):
        raise ValueError(
            f"{key} = {tuple(anchor_strides)}: the backbone's maps have strides {tuple(strides)}"
        )


def build_anchor_generator(cfg: ConfigNode) -> AnchorGenerator:
    """The anchors of MODEL.RPN.

    Raises ValueError for levels with different numbers of sizes.
    """
    rpn = cfg.MODEL.RPN
    anchor_generator = AnchorGenerator(
        sizes=rpn.ANCHOR_SIZES,
        aspect_ratios=rpn.ASPECT_RATIOS,
        anchor_strides=rpn.ANCHOR_STRIDE,
        straddle_thresh=rpn.STRADDLE_THRESH,
    )
    if len(set(anchor_generator.num_anchors_per_location())) > 1:
        raise ValueError(
            f"MODEL.RPN.ANCHOR_SIZES = {rpn.ANCHOR_SIZES}: the levels share one RPN head, so give each "
            "as many sizes"
        )
    return anchor_generator
