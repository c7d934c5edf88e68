"""Overlaps of padded boxes, beside a count of their pixels; and how much memory they take on the way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from maskrcnn_benchmark.benchmark.measure.memory import peak_bytes_of
from maskrcnn_benchmark.structures.boxlist_ops import box_iou


def boxes(*shape: int, seed: int, extent: int = 12) -> Tensor:
    """Boxes of whole pixels."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, extent, (*shape, 2, 2), generator=generator).sort(dim=-2).values
    return corners.flatten(-2).float()


def pixels(box: Tensor) -> set[tuple[int, int]]:
    x1, y1, x2, y2 = box.int().tolist()
    return {(x, y) for x in range(x1, x2 + 1) for y in range(y1, y2 + 1)}


def test_overlaps_are_shares_of_pixels() -> None:
    first, second = boxes(2, 5, seed=0), boxes(7, seed=1)
    found = box_iou(first, second)
    assert found.shape == (2, 5, 7)
    for image, one, other in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(7)).tolist():
        a, b = pixels(first[image, one]), pixels(second[other])
        assert found[image, one, other].item() == pytest.approx(len(a & b) / len(a | b), rel=1e-6)


@pytest.mark.parametrize("counts", [(0, 3), (3, 0), (0, 0)])
def test_no_boxes(counts: tuple[int, int]) -> None:
    assert box_iou(boxes(2, counts[0], seed=0), boxes(2, counts[1], seed=1)).shape == (2, *counts)


def test_a_batch_with_all_anchors_takes_little_more_than_the_result() -> None:
    """On a GPU this stands beside everything that the body keeps for backward."""
    first, second = boxes(2, 16, seed=0), boxes(50_000, seed=1)
    peak = peak_bytes_of(lambda: box_iou(first, second))
    if peak is None:
        pytest.skip("this torch's profiler sees no allocations")
    assert peak < 5 * 2 * 16 * 50_000 * 4
