"""A small dataset in COCO's format with everything that evaluation must get right, and noisy detections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

IMAGE_HW = (120, 160)
CATEGORY_IDS = (1, 3, 18, 90)  # with gaps; 90 is never annotated


def _instance(rng: np.random.Generator, annotation_id: int, image_id: int) -> dict[str, Any]:
    """An ellipse as a polygon, small or large; every sixth is a crowd with a run-length code."""
    height, width = IMAGE_HW
    radii = rng.choice([4.0, 14.0, 50.0]) * rng.uniform(0.6, 1.4, size=2)
    centre = rng.uniform(0.2, 0.8, size=2) * (width, height)
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points = centre + radii * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.clip(points, 0, (width, height)).round(2)
    corner, extent = points.min(axis=0), np.ptp(points, axis=0)
    segmentation: Any = [points.flatten().tolist()]
    rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    crowd = int(rng.random() < 1 / 6)
    if crowd:
        segmentation = {"size": [height, width], "counts": rle["counts"].decode()}
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": int(rng.choice(CATEGORY_IDS[:-1])),
        "bbox": [*corner.tolist(), *extent.tolist()],
        "area": float(coco_mask.area(rle)),
        "iscrowd": crowd,
        "segmentation": segmentation,
    }


@pytest.fixture
def make_annotations() -> Callable[[int], dict[str, Any]]:
    """seed -> annotation file: 12 images, some without objects, crowds, a class that never occurs."""

    def make(seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        height, width = IMAGE_HW
        image_ids = rng.permutation(1000)[:12].tolist()
        images = [{"id": i, "file_name": f"{i}.png", "height": height, "width": width} for i in image_ids]
        annotations: list[dict[str, Any]] = []
        for image_id in image_ids[2:]:
            for _ in range(rng.integers(1, 9)):
                annotations.append(_instance(rng, len(annotations) + 1, image_id))
        categories = [{"id": i, "name": f"class {i}"} for i in CATEGORY_IDS]
        return {"images": images, "annotations": annotations, "categories": categories}

    return make


@pytest.fixture
def make_records() -> Callable[[dict[str, Any], str, int], list[dict[str, Any]]]:
    """(annotation file, IoU type, seed) -> objects moved, doubled, missed, mislabelled; scores with ties."""

    def make(annotations: dict[str, Any], iou_type: str, seed: int) -> list[dict[str, Any]]:
        rng = np.random.default_rng(seed)
        records = []
        for annotation in annotations["annotations"]:
            for _ in range(rng.integers(0, 4)):
                category_id = (
                    annotation["category_id"] if rng.random() < 0.8 else int(rng.choice(CATEGORY_IDS))
                )
                record = {"image_id": annotation["image_id"], "category_id": category_id}
                record["score"] = round(float(rng.random()), 1)
                if iou_type == "bbox":
                    box = np.array(annotation["bbox"])
                    box += rng.normal(scale=rng.choice([0.0, 0.05, 0.3]), size=4) * box[[2, 3, 2, 3]]
                    record["bbox"] = np.maximum(box, (-9, -9, 1, 1)).tolist()
                else:
                    record["segmentation"] = _moved_mask(rng, annotation["segmentation"])
                records.append(record)
        return [records[i] for i in rng.permutation(len(records))]

    return make


def _moved_mask(rng: np.random.Generator, segmentation: Any) -> dict[str, Any]:
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, *IMAGE_HW))
    mask = np.roll(coco_mask.decode(segmentation), rng.integers(-4, 5, size=2), axis=(0, 1))
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(IMAGE_HW), "counts": rle["counts"].decode()}
