"""The tables of an evaluation."""

from __future__ import annotations

from maskrcnn_benchmark.data.datasets.coco.average_precision import METRICS
from maskrcnn_benchmark.structures.evaluation import ClassScores, EvaluationResults, Scores
from maskrcnn_benchmark.utils.text_table import text_table


def test_tables_show_percent_and_dashes() -> None:
    results = EvaluationResults()
    metrics = dict.fromkeys(METRICS, 0.25) | {"AP": 0.5, "APl": -1.0}
    classes = [ClassScores(1, "cat", 0.5, 0.75), ClassScores(7, "a|b", -1.0, -1.0)]
    results.update("bbox", Scores(metrics, classes))
    cells = [cell.strip() for cell in str(results).splitlines()[2].strip("|").split("|")]
    assert cells == ["box", "50.0", "25.0", "25.0", "25.0", "25.0", "-", *["25.0"] * 6]
    assert results.per_class_table().splitlines() == [
        "| class | box AP | box AP50 |",
        "| :---- | -----: | -------: |",
        "| cat   |   50.0 |     75.0 |",
        "| a\\|b  |      - |        - |",
    ]


def test_classes_side_by_side() -> None:
    results = EvaluationResults()
    classes = [ClassScores(i, f"class {i}", i / 10, i / 10) for i in range(1, 6)]
    results.update("bbox", Scores(dict.fromkeys(METRICS, 0.0), classes))
    lines = results.per_class_table(side_by_side=2).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["class", "box AP", "box AP50"] * 2
    assert cells[2:] == [
        ["class 1", "10.0", "10.0", "class 4", "40.0", "40.0"],
        ["class 2", "20.0", "20.0", "class 5", "50.0", "50.0"],
        ["class 3", "30.0", "30.0", "", "", ""],
    ]


def test_columns_line_up() -> None:
    lines = text_table(["a", "bb"], [["x", "1"], ["a long name", "12345"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.index("|", 1) for line in lines] == [14] * 4
