"""COCO's image sizes and objects, drawn from a small table of its statistics that ships with the package."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskrcnn_benchmark.benchmark.typed_json import from_plain

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SMALLEST_SIDE = 2.0


@dataclass(frozen=True)
class DrawnObject:
    """A box x1, y1, x2, y2 in pixels and an outline [vertices, 2] within it."""

    box: tuple[float, float, float, float]
    outline: NDArray[np.float32]
    label: int


@dataclass(frozen=True)
class CocoStatistics:
    """The table coco_statistics.json; its entry `source` says where the numbers come from.

    Attributes:
        image_sizes: of width, height, frequency.
        objects_mean, objects_shape, objects_most: of the objects of an image.
        area_shares: of small, medium and large objects, whose sides (roots of the areas) lie between
            `area_limits`.
        aspect_quantiles, vertex_quantiles: height over width of a box, and vertices of an outline, at
            QUANTILES.
    """

    source: str
    image_sizes: tuple[tuple[int, ...], ...]
    objects_mean: float
    objects_shape: float
    objects_most: int
    area_shares: tuple[float, ...]
    area_limits: tuple[float, ...]
    aspect_quantiles: tuple[float, ...]
    vertex_quantiles: tuple[float, ...]

    def draw_size(self, rng: np.random.Generator) -> tuple[int, int]:
        """Draws width and height of an image."""
        counts = np.array([count for _, _, count in self.image_sizes])
        width, height, _ = self.image_sizes[rng.choice(len(counts), p=counts / counts.sum())]
        return width, height

    def draw_count(self, rng: np.random.Generator) -> int:
        """Draws the number of objects of an image, at least one (training leaves out images without)."""
        mean = self.objects_mean - 1
        extra = rng.negative_binomial(self.objects_shape, self.objects_shape / (self.objects_shape + mean))
        return min(1 + int(extra), self.objects_most)

    def draw_object(self, rng: np.random.Generator, size_wh: tuple[int, int], classes: int) -> DrawnObject:
        """Draws an object of an image of `size_wh`, with a label of 1 .. `classes` - 1."""
        shares = np.asarray(self.area_shares) / sum(self.area_shares)
        kind = int(rng.choice(len(shares), p=shares))
        low, high = np.log(self.area_limits[kind : kind + 2])
        side = math.exp(rng.uniform(low, high))
        ratio = math.sqrt(float(np.interp(rng.random(), QUANTILES, self.aspect_quantiles)))
        width = min(max(side / ratio, SMALLEST_SIDE), size_wh[0] - 1)
        height = min(max(side * ratio, SMALLEST_SIDE), size_wh[1] - 1)
        left, top = rng.uniform(0, size_wh[0] - 1 - width), rng.uniform(0, size_wh[1] - 1 - height)
        vertices = round(float(np.interp(rng.random(), QUANTILES, self.vertex_quantiles)))
        box = (left, top, left + width, top + height)
        return DrawnObject(box, draw_outline(rng, box, vertices), int(rng.integers(1, classes)))


def draw_outline(
    rng: np.random.Generator, box: tuple[float, float, float, float], vertices: int
) -> NDArray[np.float32]:
    """Draws a ragged ellipse [vertices, 2] within a box."""
    angles = np.sort(rng.uniform(0, 2 * math.pi, vertices))
    radii = rng.uniform(0.7, 1.0, vertices) / 2
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    size = np.array([box[2] - box[0], box[3] - box[1]])
    unit = np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)
    return (middle + unit * size).astype(np.float32)


@cache
def coco_statistics() -> CocoStatistics:
    """The table that ships with the package."""
    text = Path(__file__).with_name("coco_statistics.json").read_text(encoding="utf-8")
    return from_plain(CocoStatistics, json.loads(text))
