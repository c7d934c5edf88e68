"""Boxes and scores that the tests of nms share, and a slow reference."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES

INF, NAN = float("inf"), float("nan")

needs_library = pytest.mark.skipif("cpu" not in KERNEL_DEVICES, reason="the operators are not built here")


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of two boxes, in the boxes' precision, with widths that count pixels."""
    zero, one = a.dtype.type(0), a.dtype.type(1)
    ax2, ay2, bx2, by2 = a[2] + one, a[3] + one, b[2] + one, b[3] + one
    width = max(zero, min(ax2, bx2) - max(a[0], b[0]))
    height = max(zero, min(ay2, by2) - max(a[1], b[1]))
    inter = width * height
    return inter / ((ax2 - a[0]) * (ay2 - a[1]) + (bx2 - b[0]) * (by2 - b[1]) - inter)


def slow_nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> list[int]:
    """The rules of layers/nms.py, one pair of boxes after another."""
    dtype = np.float64 if boxes.dtype == torch.float64 else np.float32
    box, score = boxes.double().numpy().astype(dtype), scores.tolist()
    takes_part = [i for i in range(len(score)) if score[i] == score[i] and not np.isnan(box[i]).any()]
    kept: list[int] = []
    with np.errstate(all="ignore"):
        for i in sorted(takes_part, key=lambda i: (-score[i], i)):
            if not any(float(overlap(box[k], box[i])) > threshold for k in kept):
                kept.append(i)
    return kept


def random_boxes(n: int, seed: int = 0, clusters: int | None = None, dtype: torch.dtype = torch.float32):
    """n boxes and scores on an 800 x 600 image, spread out or around a number of clusters."""
    generator = torch.Generator().manual_seed(seed)
    num_centres = clusters or n
    image_wh = torch.tensor([800, 600], dtype=dtype)
    centre = torch.rand(num_centres, 2, generator=generator, dtype=dtype) * image_wh
    size = torch.rand(num_centres, 2, generator=generator, dtype=dtype) * 150 + 10
    pick = torch.arange(n) % num_centres
    shift = torch.randn(n, 2, generator=generator, dtype=dtype) * (0.1 if clusters else 0.0)
    corner = centre[pick] + (shift - 0.5) * size[pick]
    boxes = torch.cat([corner, corner + size[pick]], dim=1)
    return boxes, torch.rand(n, generator=generator, dtype=dtype)


def integer_boxes(n: int, seed: int = 0):
    """Small boxes with whole coordinates and few different scores: ties, equal overlaps, duplicates."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 12, (n, 2), generator=generator)
    size = torch.randint(-2, 9, (n, 2), generator=generator)  # also widths and heights of zero and less
    scores = torch.randint(0, 5, (n,), generator=generator) / 4
    return torch.cat([corner, corner + size], dim=1).float(), scores


def nasty_boxes(n: int, seed: int = 0):
    """Random boxes with infinities and NaN strewn in."""
    boxes, scores = random_boxes(n, seed, clusters=6)
    generator = torch.Generator().manual_seed(seed + 1)
    values = torch.tensor([INF, -INF, NAN, 0.0, -0.0, 1e30, -1e30, 3e38, 1e-40])
    for tensor in (boxes.view(-1), scores):
        at = torch.randperm(len(tensor), generator=generator)[: len(tensor) // 8]
        tensor[at] = values[torch.randint(len(values), (len(at),), generator=generator)]
    return boxes, scores


def slow_batched_nms(boxes, scores, groups, valid, threshold, max_output):
    rows = []
    for image in range(boxes.shape[0]):
        kept = []
        for group in set(groups[image].tolist()):
            members = torch.nonzero(valid[image] & (groups[image] == group)).squeeze(1)
            kept += members[slow_nms(boxes[image, members], scores[image, members], threshold)].tolist()
        rows.append(sorted(kept, key=lambda i: (-scores[image, i].item(), i))[:max_output])
    index = torch.tensor([row + [0] * (max_output - len(row)) for row in rows])
    keep = torch.tensor([[place < len(row) for place in range(max_output)] for row in rows])
    return index.reshape(boxes.shape[0], max_output).long(), keep.reshape(boxes.shape[0], max_output).bool()


def batch_of(make, images: int, n: int, num_groups: int, valid_share: float = 0.8):
    pairs = [make(n, seed) for seed in range(images)]
    generator = torch.Generator().manual_seed(images * n)
    groups = torch.randint(-2, num_groups - 2, (images, n), generator=generator)
    valid = torch.rand(images, n, generator=generator) < valid_share
    boxes, scores = (torch.stack(tensors) for tensors in zip(*pairs, strict=True))
    return boxes, scores, groups * 1_000_000_007, valid
