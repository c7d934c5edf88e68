"""The transforms a config asks for."""

from __future__ import annotations

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.data.transforms.transforms import ColorJitter, Compose, RandomFlip, Resize, Transform
from maskrcnn_benchmark.structures.bounding_box import FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM


def build_transforms(cfg: ConfigNode, is_train: bool = True) -> Compose:
    """Colour changes, resizing and flips for training; resizing alone for testing."""
    if not is_train:
        return Compose([Resize(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)])
    steps: list[Transform] = []
    strengths = (cfg.INPUT.BRIGHTNESS, cfg.INPUT.CONTRAST, cfg.INPUT.SATURATION, cfg.INPUT.HUE)
    if any(strengths):
        steps.append(ColorJitter(*strengths))
    low, high = cfg.INPUT.MIN_SIZE_RANGE_TRAIN
    short_sides = cfg.INPUT.MIN_SIZE_TRAIN if low < 0 else range(low, high + 1)
    steps.append(Resize(short_sides, cfg.INPUT.MAX_SIZE_TRAIN))
    steps.append(RandomFlip(cfg.INPUT.HORIZONTAL_FLIP_PROB_TRAIN, FLIP_LEFT_RIGHT))
    if cfg.INPUT.VERTICAL_FLIP_PROB_TRAIN > 0:
        steps.append(RandomFlip(cfg.INPUT.VERTICAL_FLIP_PROB_TRAIN, FLIP_TOP_BOTTOM))
    return Compose(steps)
