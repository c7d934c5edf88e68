"""COCO's average precision, by a compiled evaluator whose numbers equal pycocotools' to the last bit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hotcoco
import numpy as np

from maskrcnn_benchmark.structures.evaluation import ClassScores, Scores

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def score_records(
    ground_truth: hotcoco.COCO, records: list[dict[str, Any]], iou_type: str, image_ids: Iterable[int]
) -> Scores:
    """AP and AR of result records over the given images. No record at all gives 0, as for any other miss."""
    evaluator = hotcoco.COCOeval(ground_truth, ground_truth.load_res(records), iou_type)
    evaluator.params.img_ids = sorted(set(image_ids))
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summary_lines()  # fills `stats` and prints nothing
    metrics = {name: float(value) for name, value in zip(METRICS, evaluator.stats, strict=True)}
    return Scores(metrics, _class_scores(ground_truth, evaluator))


def _class_scores(ground_truth: hotcoco.COCO, evaluator: hotcoco.COCOeval) -> list[ClassScores]:
    """Reads the precision array [IoU thresholds, recalls, classes, area ranges, detection limits]."""
    assert evaluator.eval is not None, "accumulate() comes first"
    precision = evaluator.eval["precision"][:, :, :, 0, -1]  # all areas, 100 detections
    scores = []
    for index, category_id in enumerate(evaluator.params.cat_ids):
        name = ground_truth.cats[category_id]["name"]
        of_class = precision[:, :, index]
        scores.append(ClassScores(category_id, name, _mean_precision(of_class), _mean_precision(of_class[0])))
    return scores


def _mean_precision(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else -1.0
