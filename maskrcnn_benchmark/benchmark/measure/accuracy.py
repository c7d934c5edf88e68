"""AP of a row, by the evaluator that tools/test_net.py uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from maskrcnn_benchmark.benchmark.measures import AveragePrecision
from maskrcnn_benchmark.benchmark.run.prepare import Scoring
from maskrcnn_benchmark.engine.full_test import evaluate_datasets


def measure_ap(
    model: nn.Module, scoring: Scoring, weights: str, device: torch.device
) -> AveragePrecision | None:
    """Called by every process; None on all but the main one."""
    names = (scoring.dataset,)
    answers = evaluate_datasets(
        model, scoring.data_loaders, names, device, scoring.options, scoring.evaluators
    )
    if scoring.dataset not in answers:
        return None
    results, _ = answers[scoring.dataset]
    box, mask = (results.results.get(kind) for kind in ("bbox", "segm"))
    assert box is not None, "boxes are always scored"
    mask_scores = None if mask is None else _known(mask)
    return AveragePrecision(scoring.dataset, results.num_images, Path(weights).name, _known(box), mask_scores)


def _known(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """COCO's -1, nothing to find, as None."""
    return {name: None if value < 0 else value for name, value in metrics.items()}
