"""The transforms that a config asks for."""

from __future__ import annotations

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.data.transforms.registry import TRANSFORMS
from maskrcnn_benchmark.data.transforms.transforms import ColorJitter, Compose, RandomFlip, Resize, Transform
from maskrcnn_benchmark.structures.bounding_box import FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM


def build_transforms(cfg: ConfigNode, is_train: bool = True) -> Compose:
    """INPUT.TRANSFORMS_TRAIN in their order for training; resizing alone for testing.

    Raises ValueError for a name that is not registered.
    """
    if not is_train:
        return Compose([Resize(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)])
    steps = [TRANSFORMS[name](cfg) for name in cfg.INPUT.TRANSFORMS_TRAIN]
    return Compose([step for step in steps if step is not None])


@TRANSFORMS.register("color_jitter")
def build_color_jitter(cfg: ConfigNode) -> Transform | None:
    """INPUT.BRIGHTNESS, CONTRAST, SATURATION and HUE; None where all are 0."""
    strengths = (cfg.INPUT.BRIGHTNESS, cfg.INPUT.CONTRAST, cfg.INPUT.SATURATION, cfg.INPUT.HUE)
    return ColorJitter(*strengths) if any(strengths) else None


@TRANSFORMS.register("resize")
def build_resize(cfg: ConfigNode) -> Transform:
    """To a short side drawn from INPUT.MIN_SIZE_RANGE_TRAIN or INPUT.MIN_SIZE_TRAIN."""
    low, high = cfg.INPUT.MIN_SIZE_RANGE_TRAIN
    short_sides = cfg.INPUT.MIN_SIZE_TRAIN if low < 0 else range(low, high + 1)
    return Resize(short_sides, cfg.INPUT.MAX_SIZE_TRAIN)


@TRANSFORMS.register("horizontal_flip")
def build_horizontal_flip(cfg: ConfigNode) -> Transform:
    """With INPUT.HORIZONTAL_FLIP_PROB_TRAIN; draws a random number for every image, whatever that is."""
    return RandomFlip(cfg.INPUT.HORIZONTAL_FLIP_PROB_TRAIN, FLIP_LEFT_RIGHT)


@TRANSFORMS.register("vertical_flip")
def build_vertical_flip(cfg: ConfigNode) -> Transform | None:
    """With INPUT.VERTICAL_FLIP_PROB_TRAIN; None where that is 0."""
    probability = cfg.INPUT.VERTICAL_FLIP_PROB_TRAIN
    return RandomFlip(probability, FLIP_TOP_BOTTOM) if probability > 0 else None
