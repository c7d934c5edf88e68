"""The result row: what stands in each cell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from maskrcnn_benchmark.analysis.run_report import ResultRow, read_training_memory, result_table, write_report
from maskrcnn_benchmark.data.datasets.coco.average_precision import METRICS
from maskrcnn_benchmark.engine.inference_time import InferenceTime
from maskrcnn_benchmark.engine.precision import Precision
from maskrcnn_benchmark.structures.evaluation import AP_DECIDES, ClassScores, EvaluationResults, Scores

HEADER = ["Backbone", "Detector", "Data", "Train memory", "Inference"]
AREAS = ["AP", "APs", "APm", "APl"]
MASK_TABLE = (  # README's and every report's: it stays to the letter
    "| Backbone | Detector   | Data | Train memory | Inference "
    "| Box AP |  APs |  APm | APl | Mask AP |  APs |  APm | APl |\n"
    "| :------- | :--------- | :--- | -----------: | --------: "
    "| -----: | ---: | ---: | --: | ------: | ---: | ---: | --: |\n"
    "| V-39-FPN | Mask R-CNN | a    |            - |         - "
    "|   10.0 | 13.0 | 14.0 |   - |    20.0 | 23.0 | 24.0 |   - |"
)


def results(iou_types: tuple[str, ...]) -> EvaluationResults:
    outcome = EvaluationResults(num_images=7, num_detections=31)
    for offset, iou_type in zip((0.1, 0.2), iou_types, strict=False):
        metrics = {name: offset + 0.01 * i for i, name in enumerate(METRICS)} | {"APl": -1.0}
        outcome.update(iou_type, Scores(metrics, [ClassScores(1, "cat", offset, offset)]))
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


def test_numbers_of_another_evaluator() -> None:
    """Its deciding numbers, or the first of a type; AP columns only where some row has AP."""
    own = EvaluationResults({"bbox": {"hits": 0.25, "misses": 0.75}, "age": {"bias": 0.1, "error": 0.5}})
    row = ResultRow("V-39-FPN", "Age R-CNN", "a", {}, None, own, ("age/error",))
    head, _, line = result_table([row]).splitlines()
    assert cells(head) == [*HEADER, "Box hits", "Age error"]
    assert cells(line)[5:] == ["25.0", "50.0"]
    coco = ResultRow("V-39-FPN", "Age R-CNN", "b", {}, None, results(("bbox",)), AP_DECIDES.metrics)
    head, _, first, second = result_table([coco, row]).splitlines()
    assert cells(head) == [*HEADER, "Box AP", *AREAS[1:], "Mask AP", *AREAS[1:], "Box hits", "Age error"]
    assert cells(first)[5:] == ["10.0", "13.0", "14.0", *["-"] * 7]
    assert cells(second)[5:] == [*["-"] * 8, "25.0", "50.0"]


def test_the_table_of_a_mask_detector_is_what_it_was() -> None:
    row = ResultRow("V-39-FPN", "Mask R-CNN", "a", {}, None, results(("bbox", "segm")), AP_DECIDES.metrics)
    assert result_table([row]) == MASK_TABLE
    empty = ResultRow("V-39-FPN", "Mask R-CNN", "a", {}, None, EvaluationResults())
    assert cells(result_table([empty]).splitlines()[0]) == cells(MASK_TABLE.splitlines()[0])


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
