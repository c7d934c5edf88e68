"""COCO's result format: one record a detection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from maskrcnn_benchmark.structures.image_predictions import ImagePredictions
from maskrcnn_benchmark.utils.whole_file import open_whole


def coco_records(predictions: Iterable[ImagePredictions], iou_type: str) -> Iterator[dict[str, Any]]:
    """The records of COCO's result files: with a "bbox", or with a "segmentation", never both.

    A record with both would be scored by its box's area instead of its mask's.
    """
    for image in predictions:
        if iou_type == "bbox":
            shapes: list[Any] = image.boxes.tolist()
        else:
            assert image.rles is not None, "predictions without masks asked for their masks"
            shapes = [{"size": rle["size"], "counts": rle["counts"].decode("ascii")} for rle in image.rles]
        key = "bbox" if iou_type == "bbox" else "segmentation"
        for category_id, score, shape in zip(
            image.category_ids.tolist(), image.scores.tolist(), shapes, strict=True
        ):
            yield {"image_id": image.image_id, "category_id": category_id, key: shape, "score": score}


def write_records(path: str, records: Iterable[dict[str, Any]]) -> None:
    """Writes COCO's result format, a record a line. (For the whole list, `json.dump` is slow.)"""
    with open_whole(path) as file:
        file.write("[")
        for number, record in enumerate(records):
            file.write(("," if number else "") + "\n" + json.dumps(record))
        file.write("\n]\n")
