"""AP of a row, by the evaluator that maskrcnn-benchmark test uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskrcnn_benchmark.benchmark.row import AveragePrecision
from maskrcnn_benchmark.engine.full_test import EvaluationOptions, evaluate_datasets
from maskrcnn_benchmark.structures.evaluation import Evaluator


@dataclass
class Scoring:
    """What the evaluation needs beside the model."""

    dataset: str
    data_loaders: Sequence[Any]
    evaluators: Sequence[Evaluator]
    options: EvaluationOptions


def measure_ap(
    model: nn.Module, scoring: Scoring, weights: str, device: torch.device
) -> AveragePrecision | None:
    """Scores the model on the dataset. Every process calls this; it returns None on all but the main one."""
    names = (scoring.dataset,)
    evaluated = evaluate_datasets(
        model, scoring.data_loaders, names, device, scoring.options, scoring.evaluators
    )
    if scoring.dataset not in evaluated:
        return None
    results, _ = evaluated[scoring.dataset]
    box, mask = (results.results.get(kind) for kind in ("bbox", "segm"))
    assert box is not None, "boxes are always scored"
    mask_scores = None if mask is None else _known(mask)
    return AveragePrecision(scoring.dataset, results.num_images, Path(weights).name, _known(box), mask_scores)


def _known(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """The metrics, with None for COCO's -1 (no such object in the dataset)."""
    return {name: None if value < 0 else value for name, value in metrics.items()}
