"""What an evaluation gives: the numbers, their tables, and the check against expected ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from maskrcnn_benchmark.data.datasets.coco.average_precision import METRICS, ClassScores, CocoScores

TITLES = {"bbox": "box", "segm": "mask"}


@dataclass
class COCOResults:
    """`results["bbox"]["AP"]` and so on: twelve numbers each, 0..1, -1 where nothing was there to find.

    per_class: the classes' AP in ascending order of category id. failed_expectations: one sentence for each
    number outside its expected range.
    """

    results: dict[str, dict[str, float]] = field(default_factory=dict)
    per_class: dict[str, list[ClassScores]] = field(default_factory=dict)
    num_images: int = 0
    num_detections: int = 0
    failed_expectations: list[str] = field(default_factory=list)

    def update(self, iou_type: str, scores: CocoScores) -> None:
        self.results[iou_type] = scores.metrics
        self.per_class[iou_type] = scores.per_class

    def to_json(self) -> dict[str, Any]:
        """Plain types only; the twelve numbers stand under the IoU type's name."""
        per_class = {iou_type: [row._asdict() for row in rows] for iou_type, rows in self.per_class.items()}
        counts = {"num_images": self.num_images, "num_detections": self.num_detections}
        return {**self.results, "per_class": per_class, **counts}

    def __str__(self) -> str:
        rows = [
            [TITLES[iou_type], *map(percent, metrics.values())] for iou_type, metrics in self.results.items()
        ]
        return text_table(["percent", *METRICS], rows)

    def per_class_table(self, side_by_side: int = 1) -> str:
        """The classes' AP in percent, so many classes a line; "-" for a class that the images do not show."""
        header = ["class"]
        for iou_type in self.per_class:
            header += [f"{TITLES[iou_type]} AP", f"{TITLES[iou_type]} AP50"]
        cells = []
        for classes in zip(*self.per_class.values(), strict=True):
            values = [value for row in classes for value in (row.ap, row.ap50)]
            cells.append([classes[0].name, *map(percent, values)])
        num_rows = math.ceil(len(cells) / side_by_side)
        cells += [[""] * len(header)] * (num_rows * side_by_side - len(cells))
        rows = [list(chain(*cells[first::num_rows])) for first in range(num_rows)]
        return text_table(header * side_by_side, rows)


def percent(value: float) -> str:
    """0..1 as a percentage with one decimal; "-" for COCO's -1 (nothing to find)."""
    return "-" if value < 0 else f"{100 * value:.1f}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """A Markdown table that lines up as plain text too: `text_columns` columns to the left, others right."""
    # A bar inside a cell would end it; class names are the users' own.
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    left = [i < text_columns for i in range(len(header))]
    rule = [
        ":" + "-" * (width - 1) if text else "-" * (width - 1) + ":"
        for width, text in zip(widths, left, strict=True)
    ]
    lines = []
    for row in (cells[0], rule, *cells[1:]):
        padded = [
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, left, strict=True)
        ]
        lines.append("| " + " | ".join(padded) + " |")
    return "\n".join(lines)


def failed_expectations(
    results: COCOResults, expected: Sequence[Sequence[Any]], sigma_tol: float
) -> list[str]:
    """One sentence for each expected number that the results miss.

    Args:
        expected: rows [IoU type, metric, mean, standard deviation], or [IoU type, metric, [mean, deviation]].
        sigma_tol: how many standard deviations a number may lie from its mean.

    Raises:
        ValueError: a row of another form, or one that names an unknown IoU type or metric.
    """
    failures = []
    for row in expected:
        iou_type, metric, mean, deviation = _expected_row(row)
        actual = results.results.get(iou_type, {}).get(metric)
        if actual is None:
            failures.append(f"{iou_type} {metric}: expected {mean:g}, and it was not evaluated")
        elif not abs(actual - mean) <= sigma_tol * deviation:
            margin = sigma_tol * deviation
            failures.append(
                f"{iou_type} {metric}: {actual:.4f} is outside {mean - margin:.4f} .. {mean + margin:.4f}"
            )
    return failures


def check_expected(expected: Sequence[Sequence[Any]]) -> None:
    """Raises ValueError for rows that `failed_expectations` would refuse, before there are results."""
    for row in expected:
        _expected_row(row)


def _expected_row(row: Sequence[Any]) -> tuple[str, str, float, float]:
    if not isinstance(row, (list, tuple)):
        row = [row]
    flat = [*row[:2], *row[2]] if len(row) == 3 and isinstance(row[2], (list, tuple)) else list(row)
    if len(flat) != 4 or not all(isinstance(value, (int, float)) for value in flat[2:]):
        raise ValueError(
            f"TEST.EXPECTED_RESULTS: {row!r} should be [IoU type, metric, mean, standard deviation]"
        )
    iou_type, metric, mean, deviation = flat
    if iou_type not in TITLES or metric not in METRICS:
        allowed = f"IoU types: {', '.join(TITLES)}; metrics: {', '.join(METRICS)}"
        raise ValueError(f"TEST.EXPECTED_RESULTS: {row!r} names an unknown number; {allowed}")
    return iou_type, metric, float(mean), float(deviation)
