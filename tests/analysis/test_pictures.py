"""Pictures of detections: what is drawn, and where."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from engine import inference_case as case
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.analysis.pictures import (
    Picture,
    choose_pictures,
    class_colour,
    draw_instances,
    save_detections_grid,
)
from maskrcnn_benchmark.structures.image_predictions import ImagePredictions

HEIGHT, WIDTH = 60, 100
GREY = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)


def instances(scores: list[float], with_masks: bool = True) -> ImagePredictions:
    """Squares of 20 pixels side by side, each filled by its mask."""
    boxes = [[5 + 30 * i, 30, 20, 20] for i in range(len(scores))]
    masks = np.zeros((HEIGHT, WIDTH, len(scores)), np.uint8, order="F")
    for i, (x, y, w, h) in enumerate(boxes):
        masks[y : y + h, x : x + w, i] = 1
    return ImagePredictions(
        image_id=3,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        category_ids=np.arange(1, len(scores) + 1),
        rles=coco_mask.encode(masks) if with_masks else None,
    )


def test_masks_are_tinted_and_the_image_is_kept() -> None:
    before = GREY.copy()
    drawn = draw_instances(GREY, instances([0.9, 0.2]), {1: "cat"}, score_thresh=0.5)
    assert (before == GREY).all()
    inside = drawn[40:45, 12:20].reshape(-1, 3).astype(float)
    tinted = 0.55 * 128 + 0.45 * np.array(class_colour(1))
    assert np.abs(inside - tinted).max() <= 1
    assert (drawn[35:45, 40:50] == 128).all(), "below the threshold, so not drawn"
    assert (drawn[5:10] == 128).all()


def test_boxes_without_masks() -> None:
    drawn = draw_instances(GREY, instances([0.9], with_masks=False), {})
    assert (drawn[38:42, 10:20] == 128).all()
    assert np.abs(drawn[45, 5].astype(int) - class_colour(1)).max() <= 1


def test_scaled_drawing_covers_the_scaled_object() -> None:
    drawn = draw_instances(GREY, instances([0.9]), {1: "cat"}, scale=2.5)
    assert drawn.shape == (150, 250, 3)
    changed = np.argwhere((drawn[85:] != 128).any(axis=2))
    assert changed[:, 1].min() == pytest.approx(2.5 * 5, abs=2)
    assert changed[:, 1].max() == pytest.approx(2.5 * 25, abs=2)


def test_nothing_to_draw() -> None:
    empty = instances([])
    assert (draw_instances(GREY, empty, {}) == GREY).all()


def test_neighbouring_classes_differ_in_colour() -> None:
    colours = np.array([class_colour(i) for i in range(1, 10)], float)
    assert np.linalg.norm(colours[1:] - colours[:-1], axis=1).min() > 100


def test_grid_file(tmp_path: Path) -> None:
    pictures = [Picture(GREY, instances([1.0]), instances([0.9, 0.6])) for _ in range(3)]
    path = tmp_path / "new" / "grid.png"
    save_detections_grid(str(path), pictures, {1: "cat"}, cell=200)
    grid = cv2.imread(str(path))
    assert grid.shape[1] > 4 * 200, "two pairs in a row"
    assert grid.shape[0] > 2 * 120
    with pytest.raises(ValueError, match="no pictures"):
        save_detections_grid(str(path), [], {})


def test_pictures_come_from_the_data_set(tmp_path: Path) -> None:
    case.write_dataset(tmp_path, 8)
    dataset = case.KnownDataset(str(tmp_path / "annotations.json"), str(tmp_path), False)
    predictions = [instances([0.9])._replace(image_id=100 + i) for i in range(8)]
    pictures = choose_pictures(dataset, predictions, num_images=4)
    assert [picture.detections.image_id for picture in pictures] == [100, 102, 104, 106]
    assert [picture.ground_truth.image_id for picture in pictures] == [100, 102, 104, 106]
    last = pictures[-1]
    assert (last.image == 6).all()
    assert last.ground_truth.boxes.tolist() == [[11, 9, 20, 15]]
    assert last.ground_truth.category_ids.tolist() == [1]
    assert last.ground_truth.rles is not None
    assert coco_mask.area(last.ground_truth.rles).tolist() == [300]
