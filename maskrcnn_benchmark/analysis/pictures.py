"""Pictures of detections beside the ground truth, in the frame of the original images."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.data.datasets import DetectionDataset
from maskrcnn_benchmark.structures.image_predictions import ImagePredictions

Colour = tuple[int, int, int]
Canvas = np.ndarray  # [height, width, 3] uint8, BGR

MASK_OPACITY = 0.45
FONT = cv2.FONT_HERSHEY_SIMPLEX
PAPER: Colour = (250, 250, 250)
INK: Colour = (40, 40, 40)
CAPTION_HEIGHT = 26
GAP = 8


class Picture(NamedTuple):
    """One image with what is known of it. image: [H, W, 3] uint8, BGR; the two others in its frame."""

    image: Canvas
    ground_truth: ImagePredictions
    detections: ImagePredictions


def choose_pictures(
    dataset: DetectionDataset, predictions: Sequence[ImagePredictions], num_images: int = 6
) -> list[Picture]:
    """A handful of images spread evenly over the dataset, among those that show an object."""
    with_objects = [i for i in range(len(dataset)) if len(dataset.get_ground_truth(i))] or range(len(dataset))
    num_images = min(num_images, len(with_objects))
    chosen = [with_objects[number * len(with_objects) // num_images] for number in range(num_images)]
    pictures = []
    for index in chosen:
        pixels = dataset.get_image(index).permute(1, 2, 0).numpy()
        pictures.append(Picture(pixels, ground_truth_instances(dataset, index), predictions[index]))
    return pictures


def ground_truth_instances(dataset: DetectionDataset, index: int) -> ImagePredictions:
    """The objects of an image in the form of detections, with score 1."""
    target = dataset.get_ground_truth(index).convert("xywh")
    category_ids = tuple(dataset.categories)
    return ImagePredictions(
        image_id=int(dataset.get_img_info(index)["id"]),
        boxes=target.bbox.numpy(),
        scores=np.ones(len(target), dtype=np.float32),
        category_ids=np.array([category_ids[label - 1] for label in target.get_field("labels").tolist()]),
        rles=target.get_field("masks").to_rle() if target.has_field("masks") else None,
    )


def save_detections_grid(
    path: str,
    pictures: Sequence[Picture],
    class_names: dict[int, str],
    score_thresh: float = 0.5,
    cell: int = 400,
    columns: int = 2,
) -> None:
    """Write a grid of (ground truth | detections) pairs.

    Args:
        path: .png or .jpg.
        class_names: by category id.
        score_thresh: detections below it are not drawn.
        cell: side of the square that each image is fitted into, pixels.
        columns: pairs in a row.

    Raises:
        ValueError: no pictures. OSError: the file can not be written.
    """
    if not pictures:
        raise ValueError("save_detections_grid: no pictures to draw")
    pairs = [_pair(picture, class_names, score_thresh, cell) for picture in pictures]
    rows = [_row(pairs[first : first + columns]) for first in range(0, len(pairs), columns)]
    width = max(row.shape[1] for row in rows)
    grid = np.concatenate([_padded(row, row.shape[0], width) for row in rows])
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    if not cv2.imwrite(path, grid):
        raise OSError(f"can not write {path}")


def draw_instances(
    image: Canvas,
    instances: ImagePredictions,
    class_names: dict[int, str],
    score_thresh: float = 0.0,
    with_scores: bool = True,
    scale: float = 1.0,
) -> Canvas:
    """A copy of the image, `scale` times as large, with masks, boxes and names; the best score on top.

    Drawn after scaling, so that lines and letters stay sharp in a small image.
    """
    interpolation = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    size_wh = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    canvas = np.ascontiguousarray(cv2.resize(image, size_wh, interpolation=interpolation))
    order = [i for i in np.argsort(instances.scores, kind="stable") if instances.scores[i] >= score_thresh]
    colours = {i: class_colour(int(instances.category_ids[i])) for i in order}
    if instances.rles is not None:
        for i in order:
            _draw_mask(canvas, coco_mask.decode(instances.rles[i]), colours[i])
    for i in order:
        _draw_box(canvas, instances.boxes[i] * scale, colours[i])
    for i in order:
        category_id = int(instances.category_ids[i])
        name = class_names.get(category_id, str(category_id))
        text = f"{name} {instances.scores[i]:.2f}" if with_scores else name
        _draw_label(canvas, instances.boxes[i] * scale, text, colours[i])
    return canvas


def class_colour(category_id: int) -> Colour:
    """A strong colour per category; neighbours in number lie far apart on the colour circle."""
    hue = (category_id * 0.618034) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(255 * blue), round(255 * green), round(255 * red)


def _pair(picture: Picture, class_names: dict[int, str], score_thresh: float, cell: int) -> Canvas:
    """Ground truth and detections side by side, each under its caption."""
    scale = cell / max(picture.image.shape[:2])
    truth = draw_instances(picture.image, picture.ground_truth, class_names, with_scores=False, scale=scale)
    found = draw_instances(picture.image, picture.detections, class_names, score_thresh, scale=scale)
    height, width = truth.shape[:2]
    pair = _paper(CAPTION_HEIGHT + height, 2 * cell + GAP)
    captions = (
        f"image {picture.ground_truth.image_id}: ground truth",
        f"detections (score > {score_thresh:g})",
    )
    for left, caption, drawn in zip((0, cell + GAP), captions, (truth, found), strict=True):
        cv2.putText(pair, caption, (left + 2, CAPTION_HEIGHT - 9), FONT, 0.48, INK, 1, cv2.LINE_AA)
        pair[CAPTION_HEIGHT:, left : left + width] = drawn
    return pair


def _row(pairs: Sequence[Canvas]) -> Canvas:
    """Pairs side by side, with a margin around each."""
    height = max(pair.shape[0] for pair in pairs) + 2 * GAP
    return np.concatenate([_padded(pair, height, pair.shape[1] + 2 * GAP, GAP) for pair in pairs], axis=1)


def _padded(canvas: Canvas, height: int, width: int, margin: int = 0) -> Canvas:
    paper = _paper(height, width)
    paper[margin : margin + canvas.shape[0], margin : margin + canvas.shape[1]] = canvas
    return paper


def _paper(height: int, width: int) -> Canvas:
    return np.full((height, width, 3), PAPER, dtype=np.uint8)


def _draw_mask(canvas: Canvas, mask: np.ndarray, colour: Colour) -> None:
    """Blend the colour into the masked pixels and trace the outline; mask [h, w] of the unscaled image."""
    height, width = canvas.shape[:2]
    inside = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) >= 0.5
    canvas[inside] = (canvas[inside] * (1 - MASK_OPACITY) + np.array(colour) * MASK_OPACITY).astype(np.uint8)
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, colour, 1, cv2.LINE_AA)


def _draw_box(canvas: Canvas, box_xywh: np.ndarray, colour: Colour) -> None:
    x, y, width, height = box_xywh.tolist()
    corners = (round(x), round(y)), (round(x + width) - 1, round(y + height) - 1)
    cv2.rectangle(canvas, corners[0], corners[1], colour, 1)


def _draw_label(canvas: Canvas, box_xywh: np.ndarray, text: str, colour: Colour) -> None:
    """A filled tag above the box's upper left corner, or inside where there is no room above."""
    (width, height), baseline = cv2.getTextSize(text, FONT, 0.4, 1)
    tag_width, tag_height = width + 6, height + baseline + 3
    left = int(min(max(0, round(box_xywh[0])), max(0, canvas.shape[1] - tag_width)))
    above = round(box_xywh[1]) - tag_height
    top = int(min(above if above >= 0 else max(0, round(box_xywh[1])), max(0, canvas.shape[0] - tag_height)))
    cv2.rectangle(canvas, (left, top), (left + tag_width, top + tag_height), colour, cv2.FILLED)
    blue, green, red = colour
    bright = 0.114 * blue + 0.587 * green + 0.299 * red > 140
    ink = (0, 0, 0) if bright else (255, 255, 255)
    cv2.putText(canvas, text, (left + 3, top + height + 2), FONT, 0.4, ink, 1, cv2.LINE_AA)
