"""Square crops of an image for classification; uint8 [3, H, W] in, [3, size, size] out."""

from __future__ import annotations

import math
import random

import torch
from torch import Tensor

AREAS = (0.08, 1.0)  # of the image
ASPECT_RATIOS = (3 / 4, 4 / 3)  # width over height
TRIES = 10
WIDEST = 16  # a strip of 5000 x 1 is not scaled to 1280000 x 256 for the sake of its central square
TEST_MARGIN = 256 / 224  # short side of the image over the side of the central crop


class RandomResizedCrop:
    """A part of random area and aspect ratio, scaled to the size, and mirrored half of the time.

    Szegedy et al. 2015, "Going deeper with convolutions", section 6. Where the image is too long and thin for
    any try, the central part of the nearest ratio.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Tensor, rng: random.Random) -> Tensor:
        top, left, height, width = random_part(image.shape[1], image.shape[2], rng)
        crop = resize(image[:, top : top + height, left : left + width], self.size, self.size)
        return crop.flip(2) if rng.random() < 0.5 else crop


class CenterCrop:
    """The centre, of the image scaled so that 256 of its short side's pixels would show 224."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Tensor, rng: random.Random) -> Tensor:
        image = middle(image, WIDEST)
        height, width = image.shape[1:]
        scale = self.size * TEST_MARGIN / min(height, width)
        image = resize(image, max(self.size, round(height * scale)), max(self.size, round(width * scale)))
        top, left = (round((side - self.size) / 2) for side in image.shape[1:])
        return image[:, top : top + self.size, left : left + self.size]


def middle(image: Tensor, ratio: int) -> Tensor:
    """The central part, `ratio` times as long as it is wide at most: the whole of every usual image."""
    height, width = image.shape[1:]
    part_height, part_width = min(height, ratio * width), min(width, ratio * height)
    top, left = (height - part_height) // 2, (width - part_width) // 2
    return image[:, top : top + part_height, left : left + part_width]


def random_part(height: int, width: int, rng: random.Random) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part of an image."""
    for _ in range(TRIES):
        area = height * width * rng.uniform(*AREAS)
        ratio = math.exp(rng.uniform(*map(math.log, ASPECT_RATIOS)))
        part_width, part_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < part_width <= width and 0 < part_height <= height:
            top, left = rng.randint(0, height - part_height), rng.randint(0, width - part_width)
            return top, left, part_height, part_width
    low, high = ASPECT_RATIOS
    part_width = min(width, max(1, round(height * high)))
    part_height = min(height, max(1, round(width / low)))
    return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bilinear interpolation on uint8."""
    # [1, 3, H, W] with the strides of channels_last, which image[None] lacks: three times faster
    batch = image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    return torch.nn.functional.interpolate(
        batch, size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )[0]
