"""A model tested on every data set of its config: scores, inference time, a picture, the report."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.data.datasets.evaluation import COCOResults, ImagePredictions
from maskrcnn_benchmark.data.datasets.evaluation.coco.results import check_expected
from maskrcnn_benchmark.engine.inference import inference
from maskrcnn_benchmark.engine.inference_time import measure_inference_time
from maskrcnn_benchmark.engine.precision import Precision, resolve_precision
from maskrcnn_benchmark.engine.report import ResultRow, read_training_memory, result_table, write_report
from maskrcnn_benchmark.engine.visualize import choose_pictures, save_detections_grid
from maskrcnn_benchmark.utils import comm

logger = logging.getLogger("maskrcnn_benchmark.inference")

PICTURE_FILE = "detections.png"


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


def make_evaluation_options(cfg: ConfigNode, device: torch.device) -> EvaluationOptions:
    """What the config says about testing; DTYPE as `resolve_precision` has it for `device`.

    Raises ValueError for a TEST.EXPECTED_RESULTS that names no number.
    """
    check_expected(cfg.TEST.EXPECTED_RESULTS)
    backbone, detector = make_names(cfg)
    return EvaluationOptions(
        backbone=backbone,
        detector=detector,
        iou_types=("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",),
        precision=resolve_precision(cfg.DTYPE, device, training=False),
        output_dir=cfg.OUTPUT_DIR,
        expected_results=tuple(cfg.TEST.EXPECTED_RESULTS),
        expected_results_sigma_tol=cfg.TEST.EXPECTED_RESULTS_SIGMA_TOL,
    )


def make_names(cfg: ConfigNode) -> tuple[str, str]:
    """Backbone and detector, as the result tables name them."""
    body = cfg.MODEL.BACKBONE.CONV_BODY
    backbone = f"{body}-GN" if cfg.MODEL.FPN.USE_GN else body
    return backbone, "Mask R-CNN" if cfg.MODEL.MASK_ON else "Faster R-CNN"


def evaluate_datasets(
    model: nn.Module,
    data_loaders: Sequence[DataLoader[Any]],
    dataset_names: Sequence[str],
    device: torch.device,
    options: EvaluationOptions,
) -> dict[str, tuple[COCOResults, list[ImagePredictions]]]:
    """Inference and scores on each data set; files go to OUTPUT_DIR/inference/<data set>/.

    Called by every rank; the result is empty on all but the main one.
    """
    answers = {}
    for name, data_loader in zip(dataset_names, data_loaders, strict=True):
        answer = inference(
            model,
            data_loader,
            name,
            options.iou_types,
            device,
            options.expected_results,
            options.expected_results_sigma_tol,
            inference_folder(options.output_dir, name),
            options.precision,
        )
        if answer is not None:
            answers[name] = answer
    return answers


def run_test(
    model: nn.Module,
    data_loaders: Sequence[DataLoader[Any]],
    dataset_names: Sequence[str],
    device: torch.device,
    options: EvaluationOptions,
) -> list[ResultRow]:
    """`evaluate_datasets`, then inference time, a picture of detections per data set, and report.md.

    Called by every rank; only the main one measures, draws and writes. The others get no rows.
    """
    answers = evaluate_datasets(model, data_loaders, dataset_names, device, options)
    memory = read_training_memory(options.output_dir)
    rows = []
    for (name, (results, predictions)), loader in zip(answers.items(), data_loaders, strict=False):
        timed = measure_inference_time(model, loader, device, options.precision, "segm" in options.iou_types)
        rows.append(ResultRow(options.backbone, options.detector, name, memory, timed, results))
        picture = os.path.join(inference_folder(options.output_dir, name), PICTURE_FILE)
        dataset: Any = loader.dataset
        save_detections_grid(picture, choose_pictures(dataset, predictions), dataset.categories)
        logger.info("Detections beside the ground truth: %s", picture)
    if rows:
        report = write_report(options.output_dir, rows, device, options.precision)
        logger.info("Results (%s)\n\n%s\n", report, result_table(rows))
    # No process leaves, and takes the group down, while the main one still measures.
    comm.synchronize()
    return rows


def inference_folder(output_dir: str, dataset_name: str) -> str:
    """Where a data set's results go. A name given as annotations.json@folder becomes one folder's name."""
    return os.path.join(
        output_dir, "inference", dataset_name.replace("@", "_").replace(os.sep, "_").lstrip("_")
    )


def flat_results(results: Mapping[str, COCOResults]) -> dict[str, float]:
    """The numbers under names as `shapes_val/bbox/AP`, for metrics.jsonl and TensorBoard."""
    return {
        f"{name}/{iou_type}/{metric}": value
        for name, result in results.items()
        for iou_type, metrics in result.results.items()
        for metric, value in metrics.items()
    }
