"""The evaluations of a run so far, and which was the best."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from maskrcnn_benchmark.structures.evaluation import AP_DECIDES, Deciding, Evaluator
from maskrcnn_benchmark.utils.metric_writers import METRICS_FILE, read_metrics


def choose_deciding(evaluators: Sequence[Evaluator]) -> Deciding | None:
    """The rule of the first evaluator that gives a number to decide by; None where none does.

    Raises:
        ValueError: an evaluator states a number that it does not give.
    """
    for evaluator in evaluators:
        known = [f"{iou_type}/{metric}" for iou_type, names in evaluator.metrics.items() for metric in names]
        rule: Deciding = getattr(evaluator, "deciding", AP_DECIDES)
        unknown = [name for name in rule.metrics if name not in known]
        if unknown and rule is not AP_DECIDES:
            name = type(evaluator).__name__
            raise ValueError(f"{name}.deciding names {unknown[0]!r}; its metrics are: {', '.join(known)}")
        if len(unknown) < len(rule.metrics):
            return rule
    return None


def deciding_number(results: Mapping[str, object], deciding: Deciding) -> float | None:
    """The number of the first dataset that decides; None where it is not there, NaN, or nothing was to find.

    results: numbers by name, such as `shapes_val/bbox/AP`.
    """
    for name in deciding.metrics:
        for key, value in results.items():
            if key == name or key.endswith(f"/{name}"):
                if not isinstance(value, (int, float)) or math.isnan(value):
                    return None
                # -1, nothing to find, would be the best of numbers that should be low
                return None if value == -1 and not deciding.higher_is_better else value
    return None


def quality(results: Mapping[str, object], deciding: Deciding = AP_DECIDES) -> float:
    """`deciding_number`, negated where lower is better: of two evaluations the higher is the better one.

    -inf where there is no such number.
    """
    number = deciding_number(results, deciding)
    if number is None:
        return -math.inf
    return number if deciding.higher_is_better else -number


def past_evaluations(folder: str | os.PathLike[str]) -> list[dict[str, float | int | str]]:
    """The evaluations in the metrics.jsonl of a run, in their order; none without the file."""
    path = Path(folder) / METRICS_FILE
    if not path.is_file():
        return []
    return [record for record in read_metrics(path) if record["kind"] == "evaluation"]


def best_evaluation(folder: str | os.PathLike[str], deciding: Deciding = AP_DECIDES) -> float:
    """The best quality among the evaluations of a run so far; -inf without any."""
    return max((quality(each, deciding) for each in past_evaluations(folder)), default=-math.inf)


def evaluation_at(folder: str | os.PathLike[str], iteration: int) -> dict[str, float]:
    """The results by name of the evaluation after `iteration`; empty where there was none."""
    found = [record for record in past_evaluations(folder) if record["iteration"] == iteration]
    numbers = found[-1].items() if found else ()
    return {name: float(n) for name, n in numbers if name != "iteration" and isinstance(n, (int, float))}
