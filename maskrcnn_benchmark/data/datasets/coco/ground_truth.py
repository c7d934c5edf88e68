"""What the evaluator is given of an annotation file."""

from __future__ import annotations

import json
import math
from typing import Any

import hotcoco

from maskrcnn_benchmark.data.datasets.coco.file_kinds import take_whole_numbers
from maskrcnn_benchmark.data.datasets.validation import DatasetError

Record = dict[str, Any]


def load_ground_truth(annotation_file: str, with_masks: bool) -> hotcoco.COCO:
    """The objects of a file that a dataset was read from, as the evaluator takes them.

    The evaluator's reader refuses files over entries on which no score rests, such as a year that is text or
    a licence without a number. From these it gets the others alone.

    Raises DatasetError where that does not help.
    """
    try:
        return hotcoco.COCO(annotation_file)
    except ValueError:
        with open(annotation_file, "rb") as file:
            content = json.load(file)
        take_whole_numbers(content)
    try:
        return hotcoco.COCO(_needed(content, with_masks))
    except (TypeError, ValueError) as error:  # which of them depends on the evaluator's version
        raise DatasetError(f"{annotation_file}: the evaluator cannot read it: {error}") from error


def _needed(content: Record, with_masks: bool) -> Record:
    """The parts of an annotation file's content that scores rest on, with annotations numbered from 1.

    Images keep id, size and file name; categories id and name; annotations box, category, crowd flag, area
    and, with masks, segmentation.
    """
    annotations = []
    for number, record in enumerate(content["annotations"], start=1):
        kept = {name: record[name] for name in ("image_id", "category_id", "bbox")}
        kept |= {"id": number, "iscrowd": int(record.get("iscrowd", 0))}
        if with_masks and isinstance(record.get("segmentation"), (list, dict)):
            kept["segmentation"] = record["segmentation"]
        if _is_area(record.get("area")):  # without one the evaluator takes the mask's or the box's
            kept["area"] = record["area"]
        annotations.append(kept)
    return {
        "images": [
            {name: record[name] for name in ("id", "width", "height", "file_name")}
            for record in content["images"]
        ],
        "annotations": annotations,
        "categories": [{name: record[name] for name in ("id", "name")} for record in content["categories"]],
    }


def _is_area(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
