"""Which evaluation of a run was the best."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from maskrcnn_benchmark.utils.metric_writers import METRICS_FILE, read_metrics

# in this order: where there are masks, they decide
DECIDING = ("segm/AP", "bbox/AP")


def quality(results: Mapping[str, object]) -> float:
    """The number that decides between two evaluations: mask AP if there is one, else box AP, of the first
    data set.

    Args:
        results: numbers by name, such as `shapes_val/bbox/AP`.

    Returns:
        -inf where neither is there, or the number is NaN.
    """
    for name in DECIDING:
        for key, value in results.items():
            if key == name or key.endswith(f"/{name}"):
                return value if isinstance(value, (int, float)) and not math.isnan(value) else -math.inf
    return -math.inf


def best_evaluation(folder: str | os.PathLike[str]) -> float:
    """The best quality among the evaluations in the metrics.jsonl of a run; -inf without any."""
    path = Path(folder) / METRICS_FILE
    if not path.is_file():
        return -math.inf
    evaluations = (record for record in read_metrics(path) if record["kind"] == "evaluation")
    return max(map(quality, evaluations), default=-math.inf)
