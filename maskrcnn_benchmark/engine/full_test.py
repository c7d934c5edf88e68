"""A model tested on every dataset of its config: scores, inference time, and whatever publishes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.engine.inference import inference
from maskrcnn_benchmark.engine.inference_time import InferenceTime, measure_inference_time
from maskrcnn_benchmark.engine.precision import Precision, resolve_precision
from maskrcnn_benchmark.structures.evaluation import (
    AP_DECIDES,
    Deciding,
    EvaluationResults,
    Evaluator,
    check_expected,
)
from maskrcnn_benchmark.structures.image_predictions import ImagePredictions
from maskrcnn_benchmark.utils import comm


@dataclass(frozen=True)
class EvaluationOptions:
    """What a test is told beside model and data; see `make_evaluation_options`."""

    backbone: str
    detector: str
    iou_types: tuple[str, ...]
    precision: Precision
    output_dir: str
    expected_results: tuple[Any, ...] = ()
    expected_results_sigma_tol: float = 4.0


class DatasetOutcome(NamedTuple):
    """What a test found on one dataset.

    inference_time: None for an empty dataset. deciding: the numbers that decide, as `Deciding.metrics`.
    """

    name: str
    dataset: Any
    results: EvaluationResults
    predictions: list[ImagePredictions]
    inference_time: InferenceTime | None
    deciding: tuple[str, ...] = AP_DECIDES.metrics


def make_evaluation_options(
    cfg: ConfigNode, device: torch.device, detector: str, iou_types: Sequence[str]
) -> EvaluationOptions:
    """What the config says about testing; DTYPE as `resolve_precision` has it for `device`.

    detector, iou_types: the model's `kind` and `iou_types`.

    Raises ValueError for a TEST.EXPECTED_RESULTS of another form; an evaluator knows which names there are.
    """
    check_expected(cfg.TEST.EXPECTED_RESULTS)
    return EvaluationOptions(
        backbone=make_backbone_name(cfg),
        detector=detector,
        iou_types=tuple(iou_types),
        precision=resolve_precision(cfg.DTYPE, device, training=False),
        output_dir=cfg.OUTPUT_DIR,
        expected_results=tuple(cfg.TEST.EXPECTED_RESULTS),
        expected_results_sigma_tol=cfg.TEST.EXPECTED_RESULTS_SIGMA_TOL,
    )


def make_backbone_name(cfg: ConfigNode) -> str:
    """The backbone, as the result tables name it."""
    body: str = cfg.MODEL.BACKBONE.CONV_BODY
    return f"{body}-GN" if cfg.MODEL.FPN.USE_GN else body


def evaluate_datasets(
    model: nn.Module,
    data_loaders: Sequence[DataLoader[Any]],
    dataset_names: Sequence[str],
    device: torch.device,
    options: EvaluationOptions,
    evaluators: Sequence[Evaluator],
) -> dict[str, tuple[EvaluationResults, list[ImagePredictions]]]:
    """Inference and scores on each dataset; files go to OUTPUT_DIR/inference/<dataset>/.

    Called by every rank; the result is empty on all but the main one.
    """
    outcomes = {}
    for name, data_loader, evaluator in zip(dataset_names, data_loaders, evaluators, strict=True):
        outcome = inference(
            model,
            data_loader,
            name,
            options.iou_types,
            device,
            options.expected_results,
            options.expected_results_sigma_tol,
            inference_folder(options.output_dir, name),
            options.precision,
            evaluator,
        )
        if outcome is not None:
            outcomes[name] = outcome
    return outcomes


def run_test(
    model: nn.Module,
    data_loaders: Sequence[DataLoader[Any]],
    dataset_names: Sequence[str],
    device: torch.device,
    options: EvaluationOptions,
    evaluators: Sequence[Evaluator],
    publish: Callable[[list[DatasetOutcome]], object] | None = None,
) -> list[DatasetOutcome]:
    """`evaluate_datasets`, then the inference time on each dataset, then `publish`.

    Called by every rank; only the main one measures and publishes. The others get nothing back.

    Args:
        evaluators: one a dataset.
        publish: writes the report and the pictures of what was tested.
    """
    outcomes = evaluate_datasets(model, data_loaders, dataset_names, device, options, evaluators)
    tested = []
    for loader, evaluator, (name, (results, predictions)) in zip(
        data_loaders, evaluators, outcomes.items(), strict=False
    ):
        encode = evaluator.encode if "segm" in options.iou_types else None
        timed = measure_inference_time(model, loader, device, options.precision, encode)
        deciding: Deciding = getattr(evaluator, "deciding", AP_DECIDES)
        tested.append(DatasetOutcome(name, loader.dataset, results, predictions, timed, deciding.metrics))
    if tested and publish is not None:
        publish(tested)
    # No process leaves, and takes the group down, while the main one still measures.
    comm.synchronize()
    return tested


def inference_folder(output_dir: str, dataset_name: str) -> str:
    """Where a dataset's results go. A name such as annotations.json@folder becomes one folder's name."""
    folder = dataset_name
    for mark in ("://", ":", "@", os.sep):
        folder = folder.replace(mark, "_")
    return os.path.join(output_dir, "inference", folder.lstrip("_"))


def flat_results(results: Mapping[str, EvaluationResults]) -> dict[str, float]:
    """The numbers under names as `shapes_val/bbox/AP`, for metrics.jsonl and TensorBoard."""
    return {
        f"{name}/{iou_type}/{metric}": value
        for name, result in results.items()
        for iou_type, metrics in result.results.items()
        for metric, value in metrics.items()
    }
