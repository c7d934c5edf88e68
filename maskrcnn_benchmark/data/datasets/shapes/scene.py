"""One picture of the embedded dataset: solid shapes over a muted, textured ground.

A scene is a function of its random generator alone. Shapes cover each other; the mask of an object is what
can be seen of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = ("disk", "box", "triangle")
# degrees of the colour circle in which most objects of a class lie
HUES = {"disk": (-25, 40), "box": (190, 260), "triangle": (75, 150)}
ODD_HUE_PROBABILITY = 0.15

EMPTY_PROBABILITY = 0.05
CROWD_PROBABILITY = 0.08
OBJECT_COUNTS = (0.15, 0.25, 0.25, 0.2, 0.15)  # probability of 1, 2, ... objects
# probability and extent in 128ths of the short side
EXTENTS = ((0.10, 14, 24), (0.82, 30, 80), (0.08, 115, 150))

MIN_VISIBLE = 0.5  # of every object, or the one that would hide it goes elsewhere
MIN_PIXELS = 40
TRIES = 20
SHADOW_REACH = 8  # pixels around a shape that its shadow may darken
FINE = 4  # shapes are filled at this multiple of the resolution, for smooth borders

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass
class SceneObject:
    """What can be seen of one object, or of a crowd of small ones."""

    class_name: str
    mask: Mask  # [H, W]
    iscrowd: bool = False
    pixels: int = 0  # of the whole object, before others came over it


@dataclass
class Scene:
    """A picture [H, W, 3] in blue, green, red, and the objects in it, the hindmost first."""

    picture: Picture
    objects: list[SceneObject] = field(default_factory=list)


def draw_scene(rng: np.random.Generator, size: int) -> Scene:
    """Draws a scene whose short side is ``size`` pixels, the other up to a quarter longer."""
    sides = [size, int(rng.choice([size, size * 5 // 4]))]
    height, width = rng.permutation(sides).tolist()
    scene = Scene(_ground(rng, height, width))
    if rng.random() < EMPTY_PROBABILITY:
        return scene
    if rng.random() < CROWD_PROBABILITY:
        _add_crowd(scene, rng, size)
    for _ in range(int(rng.choice(len(OBJECT_COUNTS), p=OBJECT_COUNTS)) + 1):
        _add_object(scene, rng, size)
    return scene


def _ground(rng: np.random.Generator, height: int, width: int) -> Picture:
    """Grey-brown noise of several scales, sometimes striped."""
    hue, saturation, value = rng.uniform(0, 360), rng.uniform(0.05, 0.25), rng.uniform(0.3, 0.7)
    ground = np.full((height, width, 3), _colour(hue, saturation, value), np.float32)
    for cells, strength in ((3, 22.0), (9, 12.0), (40, 8.0)):
        noise = rng.normal(0, strength, (cells, cells, 1)) + rng.normal(0, strength / 4, (cells, cells, 3))
        ground += cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.4:
        angle, period = rng.uniform(0, math.pi), rng.uniform(6, 20)
        y, x = np.mgrid[:height, :width]
        wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) * (2 * math.pi / period))
        ground += (rng.uniform(4, 12) * wave[..., None]).astype(np.float32)
    ground += rng.normal(0, 3, ground.shape).astype(np.float32)
    return ground.clip(0, 255).astype(np.uint8)


def _add_object(scene: Scene, rng: np.random.Generator, size: int) -> None:
    """Put one shape on top of the scene, where it hides no other too much; after some tries, none."""
    height, width = scene.picture.shape[:2]
    class_name = str(rng.choice(CLASSES))
    _, low, high = EXTENTS[int(rng.choice(len(EXTENTS), p=[probability for probability, _, _ in EXTENTS]))]
    for _ in range(TRIES):
        extent = math.exp(rng.uniform(math.log(low), math.log(high))) * size / 128
        centre = [
            rng.uniform(min(0.4 * extent, side / 2), max(side - 0.4 * extent, side / 2))
            for side in (width, height)
        ]
        alpha = _fill(_outline(rng, class_name, extent) + centre, height, width)
        mask = alpha >= 0.5
        if mask.sum() >= MIN_PIXELS and _leaves_enough(scene, mask):
            _paint(scene, rng, alpha, _class_colour(rng, class_name))
            _cover(scene, SceneObject(class_name, mask, pixels=int(mask.sum())))
            return


def _add_crowd(scene: Scene, rng: np.random.Generator, size: int) -> None:
    """Scatter a dozen small shapes of one class, which count as one crowd."""
    height, width = scene.picture.shape[:2]
    class_name = str(rng.choice(CLASSES))
    spread = 0.14 * size
    centre = [rng.uniform(2 * spread, side - 2 * spread) for side in (width, height)]
    together = np.zeros((height, width), bool)
    for _ in range(int(rng.integers(9, 16))):
        place = rng.normal(centre, spread)
        alpha = _fill(_outline(rng, class_name, rng.uniform(7, 11) * size / 128) + place, height, width)
        _paint(scene, rng, alpha, _class_colour(rng, class_name))
        together |= alpha >= 0.5
    if together.any():
        scene.objects.append(SceneObject(class_name, together, iscrowd=True, pixels=int(together.sum())))


def _outline(rng: np.random.Generator, class_name: str, extent: float) -> NDArray[np.float64]:
    """Vertices [V, 2] of a turned shape about ``extent`` pixels across, around the origin."""
    if class_name == "disk":
        angles = np.linspace(0, 2 * math.pi, 72, endpoint=False)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [0.5, 0.5 * rng.uniform(0.75, 1)]
    elif class_name == "box":
        half_width, half_height = 0.44, 0.44 * rng.uniform(0.55, 1)
        points = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [half_width, half_height]
    else:
        angles = np.array([0, 2, 4]) * math.pi / 3 + rng.uniform(-0.25, 0.25, 3)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 0.57
    turn = rng.uniform(0, 2 * math.pi)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return np.asarray(extent * points @ rotation, dtype=np.float64)


def _fill(vertices: NDArray[np.float64], height: int, width: int) -> NDArray[np.float32]:
    """How much of each pixel [H, W] a polygon covers, 0 .. 1."""
    fine = np.zeros((height * FINE, width * FINE), np.uint8)
    cv2.fillPoly(fine, [np.round(vertices * FINE - 0.5).astype(np.int32)], 255)
    covered = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(covered, dtype=np.float32) / np.float32(255)


def _leaves_enough(scene: Scene, mask: Mask) -> bool:
    """Whether enough of every object stays visible behind ``mask``."""
    return all(
        np.count_nonzero(other.mask & ~mask) >= max(MIN_VISIBLE * other.pixels, MIN_PIXELS)
        for other in scene.objects
    )


def _cover(scene: Scene, new: SceneObject) -> None:
    for other in scene.objects:
        other.mask = other.mask & ~new.mask
    scene.objects.append(new)


def _paint(
    scene: Scene, rng: np.random.Generator, alpha: NDArray[np.float32], colour: NDArray[np.float32]
) -> None:
    """Lays a shape on the picture: soft shadow, light from the upper left, a dark rim, some grain."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if len(rows) == 0:
        return
    top, left = max(rows[0] - SHADOW_REACH, 0), max(columns[0] - SHADOW_REACH, 0)
    window = np.s_[top : rows[-1] + SHADOW_REACH, left : columns[-1] + SHADOW_REACH]
    alpha = alpha[window]
    shadow = cv2.GaussianBlur(np.roll(alpha, (2, 2), axis=(0, 1)), (0, 0), 2.0)
    slope = np.add.outer(np.arange(alpha.shape[0]), np.arange(alpha.shape[1]))
    inside = slope[alpha > 0]
    light = np.interp(slope, (inside.min(), inside.max()), (1.1, 0.8))
    rim = alpha - cv2.erode(alpha, np.ones((3, 3), np.uint8))
    surface = colour * (light * (1 - 0.35 * rim))[..., None] + rng.normal(0, 3, (*alpha.shape, 1))
    below = scene.picture[window] * (1 - 0.45 * shadow)[..., None]
    mixed = below * (1 - alpha)[..., None] + surface * alpha[..., None]
    scene.picture[window] = mixed.clip(0, 255).astype(np.uint8)


def _class_colour(rng: np.random.Generator, class_name: str) -> NDArray[np.float32]:
    low, high = (0, 360) if rng.random() < ODD_HUE_PROBABILITY else HUES[class_name]
    return _colour(rng.uniform(low, high), rng.uniform(0.7, 1), rng.uniform(0.75, 1))


def _colour(hue: float, saturation: float, value: float) -> NDArray[np.float32]:
    """Blue, green, red in 0 .. 255 from degrees and two numbers in 0 .. 1."""
    hsv = np.array([[[hue % 360, saturation, value]]], np.float32)
    bgr: NDArray[np.float32] = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0] * 255
    return bgr
