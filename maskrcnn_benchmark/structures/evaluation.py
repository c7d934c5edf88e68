"""What an evaluation is asked and what it gives: the numbers, their tables, the check against expected ones.

The engine evaluates, a dataset's kind knows how; they meet here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, Protocol

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_predictions import ImagePredictions
from maskrcnn_benchmark.utils.text_table import percent, text_table

TITLES = {"bbox": "box", "segm": "mask"}


class ClassScores(NamedTuple):
    """One class's AP (COCO: mean over IoU 0.50:0.95) and AP50; -1 where the data hold no such object."""

    category_id: int
    name: str
    ap: float
    ap50: float


class Scores(NamedTuple):
    """The numbers of one IoU type by name, 0..1 (-1 where nothing was there to find), and the classes' AP."""

    metrics: dict[str, float]
    per_class: list[ClassScores]


@dataclass
class EvaluationResults:
    """`results["bbox"]["AP"]` and so on: by IoU type and metric, 0..1, -1 where nothing was there to find.

    per_class: the classes' AP by IoU type, in ascending order of category id; empty where an evaluator has
    none. failed_expectations: one sentence for each number outside its expected range.
    """

    results: dict[str, dict[str, float]] = field(default_factory=dict)
    per_class: dict[str, list[ClassScores]] = field(default_factory=dict)
    num_images: int = 0
    num_detections: int = 0
    failed_expectations: list[str] = field(default_factory=list)

    def update(self, iou_type: str, scores: Scores) -> None:
        """Adds the numbers of one IoU type."""
        self.results[iou_type] = scores.metrics
        self.per_class[iou_type] = scores.per_class

    def to_json(self) -> dict[str, Any]:
        """Plain types only; the metrics stand under the IoU type's name."""
        per_class = {iou_type: [row._asdict() for row in rows] for iou_type, rows in self.per_class.items()}
        counts = {"num_images": self.num_images, "num_detections": self.num_detections}
        return {**self.results, "per_class": per_class, **counts}

    def __str__(self) -> str:
        names = list(dict.fromkeys(chain(*self.results.values())))
        rows = [
            [title_of(iou_type), *(percent(metrics.get(name, -1.0)) for name in names)]
            for iou_type, metrics in self.results.items()
        ]
        return text_table(["percent", *names], rows)

    def describe(self, side_by_side: int = 1) -> str:
        """The table of the numbers and, where there are such, that of the classes."""
        tables = [str(self), self.per_class_table(side_by_side)] if self.per_class else [str(self)]
        return "\n\n".join(tables)

    def per_class_table(self, side_by_side: int = 1) -> str:
        """The classes' AP in percent, so many classes a line; "-" for a class that the images do not show."""
        header = ["class"]
        for iou_type in self.per_class:
            header += [f"{title_of(iou_type)} AP", f"{title_of(iou_type)} AP50"]
        cells = []
        for classes in zip(*self.per_class.values(), strict=True):
            values = [value for row in classes for value in (row.ap, row.ap50)]
            cells.append([classes[0].name, *map(percent, values)])
        num_rows = math.ceil(len(cells) / side_by_side)
        cells += [[""] * len(header)] * (num_rows * side_by_side - len(cells))
        rows = [list(chain(*cells[first::num_rows])) for first in range(num_rows)]
        return text_table(header * side_by_side, rows)


class Deciding(NamedTuple):
    """Which number decides between two evaluations of a run.

    metrics: names such as "bbox/AP" (IoU type/metric); the first that an evaluation has decides.
    """

    metrics: tuple[str, ...]
    higher_is_better: bool = True


AP_DECIDES = Deciding(("segm/AP", "bbox/AP"))  # where there are masks, they decide


class Evaluator(Protocol):
    """Scores predictions on one dataset. Inference calls `encode` per image and `score` once.

    An evaluator may also have `deciding`, a `Deciding`: by it the best checkpoint is kept and early stopping
    counts. Without, it is `AP_DECIDES`.

    Attributes:
        metrics: every number that this evaluator can give, by IoU type.
    """

    metrics: Mapping[str, Sequence[str]]

    def encode(self, index: int, prediction: BoxList) -> ImagePredictions:
        """One image's predictions in the frame and under the category ids of the dataset.

        Called on every rank, from a thread of its own, with the image's index in the dataset and the
        detections on the CPU, in the frame of the image that the detector saw.
        """

    def score(self, predictions: Sequence[ImagePredictions], output_folder: str | None) -> EvaluationResults:
        """Scores the predictions of all images in the dataset's order; writes its files into the folder.

        Called on the main rank alone.
        """


def title_of(iou_type: str) -> str:
    """An IoU type as the tables name it."""
    return TITLES.get(iou_type, iou_type)


def failed_expectations(
    results: EvaluationResults, expected: Sequence[Sequence[Any]], sigma_tol: float
) -> list[str]:
    """One sentence for each expected number that the results miss.

    Args:
        expected: rows as `check_expected` takes them.
        sigma_tol: how many standard deviations a number may lie from its mean.
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


def check_expected(
    expected: Sequence[Sequence[Any]], metrics: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Checks expected numbers before there are results.

    Args:
        expected: rows [IoU type, metric, mean, standard deviation], or [IoU type, metric, [mean, deviation]].
        metrics: the known metrics by IoU type; None checks the form alone.

    Raises:
        ValueError: a row of another form, or one that names an unknown IoU type or metric.
    """
    for row in expected:
        iou_type, metric, _, _ = _expected_row(row)
        if metrics is not None and metric not in metrics.get(iou_type, ()):
            names = dict.fromkeys(chain(*metrics.values()))
            allowed = f"IoU types: {', '.join(metrics)}; metrics: {', '.join(names)}"
            raise ValueError(f"TEST.EXPECTED_RESULTS: {row!r} names an unknown number; {allowed}")


def _expected_row(row: Sequence[Any]) -> tuple[str, str, float, float]:
    if not isinstance(row, (list, tuple)):
        row = [row]
    flat = [*row[:2], *row[2]] if len(row) == 3 and isinstance(row[2], (list, tuple)) else list(row)
    if len(flat) != 4 or not all(isinstance(value, (int, float)) for value in flat[2:]):
        raise ValueError(
            f"TEST.EXPECTED_RESULTS: {row!r} should be [IoU type, metric, mean, standard deviation]"
        )
    iou_type, metric, mean, deviation = flat
    return str(iou_type), str(metric), float(mean), float(deviation)
