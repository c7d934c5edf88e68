"""The result row: what stands in each cell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from maskrcnn_benchmark.data.datasets.evaluation import COCOResults
from maskrcnn_benchmark.data.datasets.evaluation.coco.evaluator import METRICS, ClassScores, CocoScores
from maskrcnn_benchmark.engine.inference_time import InferenceTime
from maskrcnn_benchmark.engine.precision import Precision
from maskrcnn_benchmark.engine.report import ResultRow, read_training_memory, result_table, write_report

HEADER = ["Backbone", "Detector", "Data", "Train memory", "Inference"]
AREAS = ["AP", "APs", "APm", "APl"]


def results(iou_types: tuple[str, ...]) -> COCOResults:
    outcome = COCOResults(num_images=7, num_detections=31)
    for offset, iou_type in zip((0.1, 0.2), iou_types, strict=False):
        metrics = {name: offset + 0.01 * i for i, name in enumerate(METRICS)} | {"APl": -1.0}
        outcome.update(iou_type, CocoScores(metrics, [ClassScores(1, "cat", offset, offset)]))
    return outcome


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_row_of_a_mask_detector() -> None:
    row = ResultRow(
        "V-39-FPN",
        "Mask R-CNN",
        "data/shapes_val.json@data/images",
        {"memory_allocated": 2048.0, "memory_reserved": 3072.0},
        InferenceTime(0.0421, 0.05, 0.003, 20),
        results(("bbox", "segm")),
    )
    table = result_table([row]).splitlines()
    assert cells(table[0]) == [*HEADER, "Box AP", *AREAS[1:], "Mask AP", *AREAS[1:]]
    scores = ["10.0", "13.0", "14.0", "-", "20.0", "23.0", "24.0", "-"]
    assert cells(table[2]) == [
        *("V-39-FPN", "Mask R-CNN", "shapes_val", "2.00 / 3.00 GiB", "42.1 ms"),
        *scores,
    ]


def test_row_without_masks_training_and_timing() -> None:
    row = ResultRow("R-50-FPN", "Faster R-CNN", "a", {}, None, results(("bbox",)))
    assert cells(result_table([row]).splitlines()[2])[3:] == [
        *("-", "-", "10.0", "13.0", "14.0", "-"),
        *["-"] * 4,
    ]


def test_peak_rss_is_labelled() -> None:
    row = ResultRow("R-50-FPN", "Faster R-CNN", "a", {"peak_rss": 1536.0}, None, results(("bbox",)))
    assert cells(result_table([row]).splitlines()[2])[3] == "1.50 GiB peak RSS"


def test_training_memory_is_the_largest_of_the_run(tmp_path: Path) -> None:
    assert read_training_memory(str(tmp_path)) == {}
    records = [
        {"kind": "train", "iteration": 1, "memory_allocated": 10.0, "memory_reserved": 50.0},
        {"kind": "evaluation", "iteration": 1, "shapes_val/bbox/AP": 0.5},
        {"kind": "train", "iteration": 2, "memory_allocated": 30.0, "memory_reserved": 40.0},
    ]
    lines = [json.dumps(record) for record in records]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"kind": "tra']))
    assert read_training_memory(str(tmp_path)) == {"memory_allocated": 30.0, "memory_reserved": 50.0}


@pytest.mark.parametrize(
    ("precision", "words"),
    [(Precision(torch.bfloat16), "bfloat16"), (Precision(int16=True), "16-bit integers")],
)
def test_report_file(tmp_path: Path, precision: Precision, words: str) -> None:
    timed = InferenceTime(0.0421, 0.05, 0.003, 20)
    memory = {"peak_rss": 1536.0}
    rows = [ResultRow("V-39-FPN", "Mask R-CNN", "shapes_val", memory, timed, results(("bbox", "segm")))]
    path = write_report(str(tmp_path / "run"), rows, torch.device("cpu"), precision)
    text = Path(path).read_text()
    assert path == str(tmp_path / "run" / "report.md")
    assert result_table(rows) in text
    for expected in (
        words,
        "peak RSS, all memory of the main process",
        "42.1 ms/image (median; 90 % within 50.0 ms) over 20 images",
        "pasting and encoding the masks takes 3.0 ms/image more",
        "7 images, 31 detections",
        "| cat ",
    ):
        assert expected in text
