"""Scores of a detector's answers, by the kind of the data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.coco.evaluator import (
    COCOResults,
    ImagePredictions,
    coco_evaluation,
    predictions_of_index,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList

__all__ = ["COCOResults", "ImagePredictions", "evaluate", "predictions_of_index"]


def evaluate(
    dataset: Dataset[Any],
    predictions: Sequence[BoxList | ImagePredictions],
    output_folder: str | None,
    iou_types: Sequence[str] = ("bbox",),
    expected_results: Sequence[Sequence[Any]] = (),
    expected_results_sigma_tol: float = 4.0,
) -> COCOResults:
    """Score one answer per image of the data set, in the data set's order.

    Args:
        predictions: per image either a BoxList in the frame of the image that the detector saw, with
            "scores", "labels" and, for "segm", "mask" [n, 1, M, M] probabilities; or what
            `predictions_of_index` made of it.
        output_folder: gets bbox.json, segm.json (COCO's result format), coco_results.json and per_class.md.
        iou_types: of "bbox" and "segm".
        expected_results: rows [IoU type, metric, mean, standard deviation]; a number further than
            `expected_results_sigma_tol` deviations off is named in the result's `failed_expectations`.

    Raises:
        NotImplementedError: a data set of a kind that has no evaluation.
        ValueError: the number of answers is not the number of images; unknown IoU types or metrics; masks are
            to be scored on a data set without.
    """
    if not isinstance(dataset, COCODataset):
        raise NotImplementedError(
            f"no evaluation for a {type(dataset).__name__}; there is one for COCODataset"
        )
    if len(predictions) != len(dataset):
        raise ValueError(f"{len(predictions)} predictions for a data set of {len(dataset)} images")
    if output_folder:
        os.makedirs(output_folder, exist_ok=True)
    return coco_evaluation(
        dataset, predictions, output_folder, iou_types, expected_results, expected_results_sigma_tol
    )
