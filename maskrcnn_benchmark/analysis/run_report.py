"""What a test leaves for a person: report.md with the result row, and a picture of detections."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from maskrcnn_benchmark.analysis.pictures import choose_pictures, save_detections_grid
from maskrcnn_benchmark.data.datasets.catalogue import split_entry
from maskrcnn_benchmark.engine.full_test import DatasetOutcome, EvaluationOptions, inference_folder
from maskrcnn_benchmark.engine.inference_time import InferenceTime
from maskrcnn_benchmark.engine.precision import Precision
from maskrcnn_benchmark.structures.evaluation import EvaluationResults, title_of
from maskrcnn_benchmark.utils.metric_writers import METRICS_FILE, read_metrics
from maskrcnn_benchmark.utils.text_table import percent, text_table
from maskrcnn_benchmark.utils.whole_file import open_whole

logger = logging.getLogger("maskrcnn_benchmark.inference")

REPORT_FILE = "report.md"
PICTURE_FILE = "detections.png"
_HEADER = ("Backbone", "Detector", "Data", "Train memory", "Inference")
_GIB = 1024.0  # the metrics count MiB


class Column(NamedTuple):
    """A number of the table."""

    title: str
    iou_type: str
    metric: str


_AP_COLUMNS = tuple(
    Column(title, iou_type, metric)
    for iou_type, first in (("bbox", "Box AP"), ("segm", "Mask AP"))
    for title, metric in ((first, "AP"), ("APs", "APs"), ("APm", "APm"), ("APl", "APl"))
)


class ResultRow(NamedTuple):
    """What one line of the table says.

    training_memory: peaks in MiB under the names of `memory_in_use`. deciding: as in `DatasetOutcome`.
    """

    backbone: str
    detector: str
    dataset: str
    training_memory: dict[str, float]
    inference_time: InferenceTime | None
    results: EvaluationResults
    deciding: tuple[str, ...] = ()


def publish_results(
    options: EvaluationOptions, device: torch.device, outcomes: Sequence[DatasetOutcome]
) -> None:
    """Draws detections beside the ground truth of each dataset, writes report.md and logs its table."""
    memory = read_training_memory(options.output_dir)
    rows = []
    for outcome in outcomes:
        picture = os.path.join(inference_folder(options.output_dir, outcome.name), PICTURE_FILE)
        chosen = choose_pictures(outcome.dataset, outcome.predictions)
        save_detections_grid(picture, chosen, outcome.dataset.categories)
        logger.info("Detections beside the ground truth: %s", picture)
        name, timed, results = outcome.name, outcome.inference_time, outcome.results
        row = ResultRow(options.backbone, options.detector, name, memory, timed, results, outcome.deciding)
        rows.append(row)
    report = write_report(options.output_dir, rows, device, options.precision)
    logger.info("Results (%s)\n\n%s\n", report, result_table(rows))


def read_training_memory(run_folder: str) -> dict[str, float]:
    """The largest peak memory of each kind in the run's metrics.jsonl, in MiB; empty without training."""
    path = os.path.join(run_folder, METRICS_FILE)
    peaks: dict[str, float] = {}
    for record in read_metrics(path) if os.path.exists(path) else []:
        for name in ("memory_allocated", "memory_reserved", "peak_rss"):
            if name in record:
                peaks[name] = max(peaks.get(name, 0.0), float(record[name]))
    return peaks


def result_table(rows: Sequence[ResultRow]) -> str:
    """The rows as a table that reads both as text and as Markdown; "-" for what was not measured.

    Its numbers are box and mask AP by size of object, and the deciding ones of other evaluators.
    """
    own = dict.fromkeys(column for row in rows for column in _own_columns(row))
    has_ap = any("AP" in row.results.results.get(name, {}) for row in rows for name in ("bbox", "segm"))
    columns = [*(_AP_COLUMNS if has_ap or not own else ()), *own]
    cells = []
    for row in rows:
        seconds = "-" if row.inference_time is None else f"{1000 * row.inference_time.median:.1f} ms"
        numbers = [_percent(row.results, column.iou_type, column.metric) for column in columns]
        cells.append(
            [
                row.backbone,
                row.detector,
                short_name(row.dataset),
                _memory(row.training_memory),
                seconds,
                *numbers,
            ]
        )
    return text_table([*_HEADER, *(column.title for column in columns)], cells, text_columns=3)


def _own_columns(row: ResultRow) -> Iterator[Column]:
    """The row's deciding numbers beside AP; of an IoU type that has neither, the first."""
    shown = [(column.iou_type, column.metric) for column in _AP_COLUMNS]
    for iou_type, metrics in row.results.results.items():
        deciding = [name for name in metrics if f"{iou_type}/{name}" in row.deciding]
        has_ap = (iou_type, "AP") in shown and "AP" in metrics
        for name in deciding or ([] if has_ap else list(metrics)[:1]):
            if (iou_type, name) not in shown:
                title = f"{title_of(iou_type)} {name}"
                yield Column(title[0].upper() + title[1:], iou_type, name)


def short_name(dataset_name: str) -> str:
    """A name for tables: of annotations.json@folder the file's name alone."""
    file = split_entry(dataset_name)[0] if "@" in dataset_name else dataset_name
    return os.path.basename(file).removesuffix(".json")


def _percent(results: EvaluationResults, iou_type: str, metric: str) -> str:
    return percent(results.results.get(iou_type, {}).get(metric, -1.0))


def _memory(peaks: dict[str, float]) -> str:
    if "memory_allocated" in peaks:
        reserved = peaks.get("memory_reserved", peaks["memory_allocated"])
        return f"{peaks['memory_allocated'] / _GIB:.2f} / {reserved / _GIB:.2f} GiB"
    if "peak_rss" in peaks:
        return f"{peaks['peak_rss'] / _GIB:.2f} GiB peak RSS"
    return "-"


def write_report(
    run_folder: str, rows: Sequence[ResultRow], device: torch.device, precision: Precision
) -> str:
    """Writes report.md into the run's folder: the table, how its numbers were measured, all twelve AP and AR.

    Returns:
        The path of the report.
    """
    parts = ["# Results", result_table(rows), _measured(rows, device, precision)]
    for row in rows:
        counts = f"{row.results.num_images} images, {row.results.num_detections} detections"
        parts += [f"## {row.dataset}", counts, row.results.describe()]
    path = os.path.join(run_folder, REPORT_FILE)
    os.makedirs(run_folder, exist_ok=True)
    with open_whole(path) as file:
        file.write("\n\n".join(parts) + "\n")
    return path


def _measured(rows: Sequence[ResultRow], device: torch.device, precision: Precision) -> str:
    """How to read the numbers of the table."""
    lines = [
        f"- Device: {device_name(device)}; {precision}; torch {torch.__version__}.",
        "- AP in percent, by the definition of the dataset's evaluator; - where it was not measured, or the "
        "images hold no such object.",
    ]
    if any("memory_allocated" in row.training_memory for row in rows):
        lines.append(
            "- Training memory: the most that torch allocated / reserved on the GPU of the main process."
        )
    elif any("peak_rss" in row.training_memory for row in rows):
        lines.append(
            "- Training memory: peak RSS, all memory of the main process on the CPU; not a GPU's number."
        )
    for row in rows:
        if row.inference_time is not None:
            lines.append(f"- {row.dataset}: {describe_time(row.inference_time)}.")
    return "\n".join(lines)


def describe_time(measured: InferenceTime) -> str:
    """The inference time in words, with the pasting of the masks that it does not count."""
    text = (
        f"inference {1000 * measured.median:.1f} ms/image (median; 90 % within {1000 * measured.p90:.1f} ms) "
        f"over {measured.num_images} images, one at a time, from the copy to the device to the final "
        "detections, without loading"
    )
    if measured.pasting_median is None:
        return text
    return f"{text}; pasting and encoding the masks takes {1000 * measured.pasting_median:.1f} ms/image more"


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
