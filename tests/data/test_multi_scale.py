"""Multi-scale training: a short side drawn for each image, from a list or from a range."""

from __future__ import annotations

import random

import pytest
import torch

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.data.transforms import build_transforms
from maskrcnn_benchmark.structures.bounding_box import BoxList

IMAGE = torch.zeros(3, 60, 90, dtype=torch.uint8)


def short_sides(keys: list[object], draws: int = 300) -> list[int]:
    """The short sides that a config gives one image in training."""
    transforms = build_transforms(load_config(None, [*keys, "INPUT.MAX_SIZE_TRAIN", 200]))
    rng = random.Random(0)
    sides = []
    for _ in range(draws):
        image, target = transforms(IMAGE, BoxList([[0.0, 0.0, 9.0, 9.0]], (90, 60)), rng)
        height, width = image.shape[1:]
        assert target.size == (width, height)
        assert width == height * 90 // 60  # the shape stays
        sides.append(height)
    return sides


def test_every_side_of_a_list_is_drawn_equally() -> None:
    sides = short_sides(["INPUT.MIN_SIZE_TRAIN", (64, 68, 72, 76, 80)])
    counts = {side: sides.count(side) for side in set(sides)}
    assert set(counts) == {64, 68, 72, 76, 80}
    assert all(35 < count < 90 for count in counts.values())


def test_a_range_takes_the_place_of_the_list() -> None:
    sides = short_sides(["INPUT.MIN_SIZE_RANGE_TRAIN", (64, 80), "INPUT.MIN_SIZE_TRAIN", (800,)])
    assert set(sides) == set(range(64, 81))


@pytest.mark.parametrize("value", [(80, 64), (64,), (0, 5), (-1, 5)])
def test_what_is_no_range_is_refused(value: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"INPUT\.MIN_SIZE_RANGE_TRAIN"):
        load_config(None, ["INPUT.MIN_SIZE_RANGE_TRAIN", value])
