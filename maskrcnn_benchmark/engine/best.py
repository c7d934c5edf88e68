"""The evaluations of a run so far, and which was the best."""

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
    dataset.

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


def past_evaluations(folder: str | os.PathLike[str]) -> list[dict[str, float | int | str]]:
    """The evaluations in the metrics.jsonl of a run, in their order; none without the file."""
    path = Path(folder) / METRICS_FILE
    if not path.is_file():
        return []
    return [record for record in read_metrics(path) if record["kind"] == "evaluation"]


def best_evaluation(folder: str | os.PathLike[str]) -> float:
    """The best quality among the evaluations of a run so far; -inf without any."""
    return max(map(quality, past_evaluations(folder)), default=-math.inf)


def evaluation_at(folder: str | os.PathLike[str], iteration: int) -> dict[str, float]:
    """The results by name of the evaluation after `iteration`; empty where there was none."""
    found = [record for record in past_evaluations(folder) if record["iteration"] == iteration]
    numbers = found[-1].items() if found else ()
    return {name: float(n) for name, n in numbers if name != "iteration" and isinstance(n, (int, float))}
