"""The evaluators of a config's datasets, and the family's `evaluate`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.data.datasets.registry import EVALUATORS
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.evaluation import (
    EvaluationResults,
    Evaluator,
    check_expected,
    failed_expectations,
)
from maskrcnn_benchmark.structures.image_predictions import ImagePredictions

logger = logging.getLogger("maskrcnn_benchmark.inference")


def make_evaluators(
    cfg: ConfigNode, data_loaders: Sequence[DataLoader[Any]], iou_types: Sequence[str]
) -> list[Evaluator]:
    """An evaluator for each loader's dataset: TEST.EVALUATOR, or that of the dataset's kind.

    iou_types: what the model predicts. Types that an evaluator does not know are not scored, and the log
    says so: a head of a user's own also trains and runs where nothing scores it.

    Raises:
        ValueError: an evaluator that is not known or cannot score the dataset; a TEST.EXPECTED_RESULTS that
            names no number of it.
    """
    evaluators: list[Evaluator] = []
    for loader in data_loaders:
        dataset: Any = loader.dataset
        known = known_types(cfg.TEST.EVALUATOR or getattr(dataset, "kind", ""), iou_types)
        if cfg.TEST.EVALUATOR:
            evaluators.append(EVALUATORS[cfg.TEST.EVALUATOR](dataset, known))
        else:
            evaluators.append(dataset.make_evaluator(known))
        check_expected(cfg.TEST.EXPECTED_RESULTS, evaluators[-1].metrics)
    return evaluators


def known_types(name: str, iou_types: Sequence[str]) -> tuple[str, ...]:
    """Those of the types that the evaluator called `name` knows; one log line names the others.

    An evaluator that is no class with `metrics` gets them all.
    """
    metrics = getattr(EVALUATORS.get(name), "metrics", None)
    if not isinstance(metrics, Mapping):
        return tuple(iou_types)
    if unknown := [each for each in iou_types if each not in metrics]:
        logger.info(
            "Not scored: %s of the model; the evaluator %r knows %s (TEST.EVALUATOR names another)",
            ", ".join(unknown),
            name,
            ", ".join(metrics),
        )
    return tuple(each for each in iou_types if each in metrics)


def evaluate(
    dataset: Dataset[Any],
    predictions: Sequence[BoxList | ImagePredictions],
    output_folder: str | None,
    iou_types: Sequence[str] = ("bbox",),
    expected_results: Sequence[Sequence[Any]] = (),
    expected_results_sigma_tol: float = 4.0,
) -> EvaluationResults:
    """Scores the predictions of all images, in the dataset's order, by the evaluator of its kind.

    Args:
        predictions: per image either a BoxList in the frame of the image that the detector saw, with
            "scores", "labels" and, for "segm", "mask" [D, 1, M, M] probabilities; or what the evaluator's
            `encode` made of it.
        output_folder: gets the evaluator's files; for COCO's format bbox.json, segm.json (COCO's result
            format), coco_results.json and per_class.md.
        iou_types: what is scored; "bbox", "segm" and whatever the evaluator knows beside them.
        expected_results: rows [IoU type, metric, mean, standard deviation]; a number further than
            `expected_results_sigma_tol` deviations off is named in the result's `failed_expectations`.

    Raises:
        NotImplementedError: a dataset of a kind that has no evaluation.
        ValueError: the number of predictions is not the number of images; unknown IoU types or metrics;
            masks are to be scored on a dataset without.
    """
    known: Any = dataset
    if not hasattr(known, "make_evaluator"):
        raise NotImplementedError(
            f"no evaluation for a {type(dataset).__name__}: it has no `make_evaluator`; derive it from "
            "data.datasets.DetectionDataset and register an evaluator for its kind"
        )
    if len(predictions) != len(known):
        raise ValueError(f"{len(predictions)} predictions for a dataset of {len(known)} images")
    evaluator: Evaluator = known.make_evaluator(iou_types)
    check_expected(expected_results, evaluator.metrics)
    encoded = [
        each if isinstance(each, ImagePredictions) else evaluator.encode(index, each)
        for index, each in enumerate(predictions)
    ]
    results = evaluator.score(encoded, output_folder)
    results.failed_expectations = failed_expectations(results, expected_results, expected_results_sigma_tol)
    return results
