"""The compiled evaluator against pycocotools: the same numbers to the last bit."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn_benchmark.data.datasets.coco.average_precision import METRICS, score_records

MakeAnnotations = Callable[[int], dict[str, Any]]
MakeRecords = Callable[[dict[str, Any], str, int], list[dict[str, Any]]]


def reference(path: str, records: list[dict[str, Any]], iou_type: str, image_ids: list[int]) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO(path)
        detections = ground_truth.loadRes(copy.deepcopy(records)) if records else COCO()
        evaluator = COCOeval(ground_truth, detections, iou_type)
        evaluator.params.imgIds = image_ids
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def check_equal(path: str, records: list[dict[str, Any]], iou_type: str, image_ids: list[int]) -> None:
    expected = reference(path, records, iou_type, image_ids)
    scores = score_records(hotcoco.COCO(path), records, iou_type, image_ids)
    assert scores.metrics == dict(zip(METRICS, expected.stats.tolist(), strict=True))
    precision = expected.eval["precision"][:, :, :, 0, 2]
    assert [row.category_id for row in scores.per_class] == expected.params.catIds
    for index, row in enumerate(scores.per_class):
        for value, of_class in ((row.ap, precision[:, :, index]), (row.ap50, precision[0, :, index])):
            known = of_class[of_class > -1]
            assert value == (np.mean(known) if known.size else -1)


def written(folder: Path, annotations: dict[str, Any]) -> str:
    path = folder / "annotations.json"
    path.write_text(json.dumps(annotations))
    return str(path)


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools(
    seed: int, iou_type: str, make_annotations: MakeAnnotations, make_records: MakeRecords, tmp_path: Path
) -> None:
    annotations = make_annotations(seed)
    records = make_records(annotations, iou_type, seed)
    assert any(each["iscrowd"] for each in annotations["annotations"])
    image_ids = [image["id"] for image in annotations["images"]]
    check_equal(written(tmp_path, annotations), records, iou_type, image_ids)


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_part_of_the_images(
    iou_type: str, make_annotations: MakeAnnotations, make_records: MakeRecords, tmp_path: Path
) -> None:
    annotations = make_annotations(0)
    image_ids = [image["id"] for image in annotations["images"]][3:9]
    records = [r for r in make_records(annotations, iou_type, 0) if r["image_id"] in image_ids]
    check_equal(written(tmp_path, annotations), records, iou_type, image_ids)


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_no_detections(iou_type: str, make_annotations: MakeAnnotations, tmp_path: Path) -> None:
    annotations = make_annotations(1)
    image_ids = [image["id"] for image in annotations["images"]]
    check_equal(written(tmp_path, annotations), [], iou_type, image_ids)
    scores = score_records(hotcoco.COCO(written(tmp_path, annotations)), [], iou_type, image_ids)
    assert scores.metrics["AP"] == 0
    assert scores.per_class[-1].ap == -1, "a class that no image shows has no AP"


def test_no_objects(make_annotations: MakeAnnotations, make_records: MakeRecords, tmp_path: Path) -> None:
    annotations = make_annotations(2)
    records = make_records(annotations, "bbox", 2)
    annotations["annotations"] = []
    check_equal(
        written(tmp_path, annotations), records, "bbox", [image["id"] for image in annotations["images"]]
    )
