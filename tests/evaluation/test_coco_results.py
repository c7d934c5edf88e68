"""The tables of an evaluation."""

from __future__ import annotations

from maskrcnn_benchmark.data.datasets.evaluation.coco.evaluator import METRICS, ClassScores, CocoScores
from maskrcnn_benchmark.data.datasets.evaluation.coco.results import COCOResults, text_table


def test_tables_show_percent_and_dashes() -> None:
    results = COCOResults()
    metrics = dict.fromkeys(METRICS, 0.25) | {"AP": 0.5, "APl": -1.0}
    classes = [ClassScores(1, "cat", 0.5, 0.75), ClassScores(7, "a|b", -1.0, -1.0)]
    results.update("bbox", CocoScores(metrics, classes))
    cells = [cell.strip() for cell in str(results).splitlines()[2].strip("|").split("|")]
    assert cells == ["box", "50.0", "25.0", "25.0", "25.0", "25.0", "-", *["25.0"] * 6]
    assert results.per_class_table().splitlines() == [
        "| class | box AP | box AP50 |",
        "| :---- | -----: | -------: |",
        "| cat   |   50.0 |     75.0 |",
        "| a\\|b  |      - |        - |",
    ]


def test_columns_line_up() -> None:
    lines = text_table(["a", "bb"], [["x", "1"], ["a long name", "12345"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.index("|", 1) for line in lines] == [14] * 4
