"""Geometric and colour changes of a uint8 image [3, H, W] in BGR together with its targets.

Every transform is called as ``transform(image, target, random)`` and draws from that generator only, so
that a sample is a function of its seed. Normalising is left to the device that runs the model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as colour

from maskrcnn_benchmark.structures.bounding_box import FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM, BoxList

PUBLISHED_RATIO = 5  # long side over short side, of every image that published weights were made for


class Transform(Protocol):
    """What changes an image and its targets."""

    def __call__(self, image: Tensor, target: BoxList, rng: random.Random, /) -> tuple[Tensor, BoxList]: ...


class Compose:
    """One transform after another."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, image: Tensor, target: BoxList, rng: random.Random) -> tuple[Tensor, BoxList]:
        for transform in self.transforms:
            image, target = transform(image, target, rng)
        return image, target

    def __repr__(self) -> str:
        return f"Compose({', '.join(type(transform).__name__ for transform in self.transforms)})"


def resized_hw(width: int, height: int, min_size: int, max_size: int | None) -> tuple[int, int]:
    """Height and width with the short side at ``min_size``, or less if the long one would pass ``max_size``.

    The long side is rounded down. Where the short side already fits, nothing changes. A side has at least one
    pixel, and none passes ``max_size``: but for up to PUBLISHED_RATIO the sizes are the published ones, whose
    long side rounding can lead two pixels beyond.

    Raises ValueError for an image without pixels.
    """
    short, long = min(width, height), max(width, height)
    if short < 1:
        raise ValueError(f"an image of {width} x {height} has no pixels; leave it out, or restore it")
    if max_size is not None and long / short * min_size > max_size:
        min_size = max(1, round(max_size * short / long))
    scaled = long if short == min_size else int(min_size * long / short)
    if max_size is not None and (long > PUBLISHED_RATIO * short or min_size == 1):
        scaled = min(scaled, max_size)
    return (scaled, min_size) if width < height else (min_size, scaled)


class Resize:
    """Scales the short side to one of ``min_size``, drawn per image, the long one to at most ``max_size``.

    Antialiased bilinear interpolation on uint8, which equals Pillow's to one grey level: the published
    weights were trained and tested on images that Pillow resized.
    """

    def __init__(self, min_size: int | Sequence[int], max_size: int | None) -> None:
        self.min_size = (min_size,) if isinstance(min_size, int) else tuple(min_size)
        self.max_size = max_size

    def __call__(self, image: Tensor, target: BoxList, rng: random.Random) -> tuple[Tensor, BoxList]:
        min_size = rng.choice(self.min_size) if len(self.min_size) > 1 else self.min_size[0]
        height, width = resized_hw(image.shape[2], image.shape[1], min_size, self.max_size)
        if (height, width) == tuple(image.shape[1:]):
            return image, target
        # [1, 3, H, W] with the strides of channels_last, which image[None] lacks: three times faster
        batch = image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
        resized = torch.nn.functional.interpolate(
            batch, size=(height, width), mode="bilinear", align_corners=False, antialias=True
        )[0]
        return resized, target.resize((width, height))


class RandomFlip:
    """Mirrors with probability ``probability``; ``method`` is FLIP_LEFT_RIGHT or FLIP_TOP_BOTTOM."""

    def __init__(self, probability: float, method: int) -> None:
        self.probability = probability
        self.method = method

    def __call__(self, image: Tensor, target: BoxList, rng: random.Random) -> tuple[Tensor, BoxList]:
        if rng.random() >= self.probability:
            return image, target
        axis = {FLIP_LEFT_RIGHT: 2, FLIP_TOP_BOTTOM: 1}[self.method]
        return image.flip(axis), target.transpose(self.method)


class ColorJitter:
    """Random brightness, contrast, saturation and hue, in random order, as torchvision's of that name.

    A strength s > 0 draws a factor from [max(0, 1 - s), 1 + s]; hue draws a turn from [-s, s] of the circle.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float) -> None:
        self.strengths = {
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "hue": hue,
        }
        for name, strength in self.strengths.items():
            upper = 0.5 if name == "hue" else float("inf")
            if not 0 <= strength <= upper:
                raise ValueError(f"INPUT.{name.upper()} must lie in [0, {upper}], got {strength}")

    def __call__(self, image: Tensor, target: BoxList, rng: random.Random) -> tuple[Tensor, BoxList]:
        names = [name for name, strength in self.strengths.items() if strength > 0]
        rng.shuffle(names)
        rgb = image.flip(0)
        for name in names:
            strength = self.strengths[name]
            if name == "hue":
                rgb = colour.adjust_hue(rgb, rng.uniform(-strength, strength))
            else:
                factor = rng.uniform(max(0.0, 1 - strength), 1 + strength)
                rgb = getattr(colour, f"adjust_{name}")(rgb, factor)
        return rgb.flip(0), target
