"""Boxes and ground truth that the tests of match_boxes share, and a slow reference."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

INF, NAN = float("inf"), float("nan")
THRESHOLDS = [(0.7, 0.3), (0.5, 0.5), (0.5, 0.0), (0.0, 0.0), (1.0, 1.0)]
IMAGE_WH = torch.tensor([800.0, 600.0])


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of float32 boxes [..., 4] with others, with sides that count pixels."""
    one, zero = np.float32(1), np.float32(0)

    def areas(boxes: np.ndarray) -> np.ndarray:
        return (boxes[..., 2] - boxes[..., 0] + one) * (boxes[..., 3] - boxes[..., 1] + one)

    width = np.maximum(np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + one, zero)
    height = np.maximum(np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + one, zero)
    return width * height / (areas(a) + areas(b) - width * height)


def slow_matches(
    boxes: Tensor, gt_boxes: Tensor, gt_valid: Tensor, high: float, low: float, allow_low_quality: bool
) -> Tensor:
    """The rules of layers/match_boxes.py, one box after another."""
    matches = torch.empty(len(gt_boxes), boxes.shape[-2], dtype=torch.int64)
    for image, (gts, valid) in enumerate(zip(gt_boxes.numpy(), gt_valid.tolist(), strict=True)):
        of_image = boxes if boxes.dim() == 2 else boxes[image]
        with np.errstate(all="ignore"):
            overlaps = overlap(of_image.numpy()[:, None], gts)  # [A, G]
        rows = [
            {g: value for g, value in enumerate(row) if valid[g] and value == value}
            for row in overlaps.tolist()  # exact
        ]
        highest = {g: max((row[g] for row in rows if g in row), default=None) for g in range(len(gts))}
        for i, row in enumerate(rows):
            matches[image, i] = match_slowly(row, highest, high, low, allow_low_quality)
    return matches


def match_slowly(
    overlaps: dict[int, float],
    highest: dict[int, float | None],
    high: float,
    low: float,
    allow_low_quality: bool,
) -> int:
    """Of one box, from its overlaps by slot and the highest of each slot's."""
    if not overlaps:
        return -1
    best = max(overlaps, key=lambda g: (overlaps[g], -g))
    if allow_low_quality and any(value == highest[g] for g, value in overlaps.items()):
        return best
    if overlaps[best] < np.float32(low):
        return -1
    return -2 if overlaps[best] < np.float32(high) else best


def anchors(stride: int = 16, sizes: tuple[float, ...] = (32.0, 64.0, 128.0)) -> Tensor:
    """Boxes at every position of a grid over the image, row by row: neighbours lie close together."""
    y, x = torch.meshgrid(*(torch.arange(0, side, stride) for side in (600, 800)), indexing="ij")
    centre = torch.stack([x, y], dim=-1).reshape(-1, 1, 2).float()
    half = torch.tensor([[size * r, size / r] for size in sizes for r in (0.7, 1.0, 1.4)]) / 2
    return torch.cat([centre - half, centre + half], dim=-1).reshape(-1, 4)


def random_boxes(*shape: int, seed: int, largest: float = 120.0) -> Tensor:
    """Boxes anywhere on the image."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator) * IMAGE_WH
    return torch.cat([corner, corner + torch.rand(*shape, 2, generator=generator) * largest], dim=-1)


def integer_boxes(*shape: int, seed: int) -> Tensor:
    """Small boxes of whole pixels, also of none and with corners the wrong way round: ties, duplicates."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 12, (*shape, 2), generator=generator)
    return torch.cat([corner, corner + torch.randint(-3, 9, (*shape, 2), generator=generator)], -1).float()


def nasty_boxes(*shape: int, seed: int) -> Tensor:
    """Random boxes with infinities, NaN and huge numbers strewn in."""
    boxes = random_boxes(*shape, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    values = torch.tensor([INF, -INF, NAN, 0.0, -0.0, 1e19, -1e19, 1e30, -1e30, 3e38, -3e38, 1e-40])
    at = torch.randperm(boxes.numel(), generator=generator)[: boxes.numel() // 8]
    boxes.view(-1)[at] = values[torch.randint(len(values), (len(at),), generator=generator)]
    return boxes


def random_valid(images: int, slots: int, seed: int) -> Tensor:
    return torch.rand(images, slots, generator=torch.Generator().manual_seed(seed)) < 0.8


def cases() -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Boxes, ground truth and its validity, by name; small enough for the slow reference."""
    some = anchors(stride=100, sizes=(48.0, 150.0))
    gts = random_boxes(2, 13, seed=1)
    valid = random_valid(2, 13, seed=2)
    copies = torch.cat([gts[:, :6], gts[:, :6], gts[:, 6:], gts[:, 3:5] + 0.25], dim=1)
    far = gts.clone()
    far[0] += 5000.0
    far[1, 4:] -= 5000.0
    no_width, no_width_gts = some.clone(), far.clone()
    no_width[::5, 2] = no_width[::5, 0] - 1
    no_width_gts[:, 0, 2] = no_width_gts[:, 0, 0] - 1
    one_bad = gts.clone()
    one_bad[0, 0, 2] = NAN
    return {
        "anchors": (some, gts, valid),
        "boxes of each image": (random_boxes(2, 150, seed=3), gts, valid),
        "whole pixels": (integer_boxes(2, 200, seed=4), integer_boxes(2, 20, seed=5), random_valid(2, 20, 6)),
        "ground truth among the boxes": (torch.cat([gts, gts[:, :5], gts], dim=1), gts, valid),
        "copies of ground truth": (some, copies, torch.ones(2, copies.shape[1], dtype=torch.bool)),
        "apart from all boxes": (some, far, valid),
        "apart, some of no pixel": (no_width, no_width_gts, torch.ones_like(valid)),
        "not finite": (nasty_boxes(2, 150, seed=7), nasty_boxes(2, 20, seed=8), random_valid(2, 20, 9)),
        "anchors, a ground truth of NaN": (some, one_bad, torch.ones_like(valid)),
        "huge": (random_boxes(150, seed=10) * 1e17, random_boxes(1, 9, seed=11) * 1e17, valid[:1, :9]),
        "none valid": (some, gts, torch.stack([valid[0], torch.zeros_like(valid[1])])),
        "one box, one ground truth": (some[:1], gts[:, :1], torch.ones(2, 1, dtype=torch.bool)),
        "no slot": (some, gts[:, :0], valid[:, :0]),
        "no box": (some[:0], gts, valid),
        "no image": (some, gts[:0], valid[:0]),
    }
