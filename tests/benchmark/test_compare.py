"""Two runs compared: a change is told from noise, and runs that do not compare are said not to."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark import report_case as case

from maskrcnn_benchmark.benchmark.report.compare_runs import compare
from maskrcnn_benchmark.benchmark.results import Results, load_results, save_results
from maskrcnn_benchmark.benchmark.row import InferenceTimes, Row


def timed(times: list[float], name: str = "V-39") -> Row:
    """A row of which only the times matter."""
    row = case.row(name)
    assert row.inference is not None
    ordered = sorted(times)
    median = (ordered[(len(times) - 1) // 2] + ordered[len(times) // 2]) / 2
    p90 = ordered[math.ceil(0.9 * len(times)) - 1]
    return replace(row, inference=InferenceTimes(median, p90, len(times), tuple(times), None))


def run(*rows: Row) -> Results:
    return case.results(tuple(rows), ())


def line_of(text: str, *starts: str) -> list[str]:
    """The cells of the only line that begins with these."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    (found,) = [cells for cells in lines if tuple(cells[: len(starts)]) == starts]
    return found


def test_the_same_run_twice_has_no_difference() -> None:
    text = compare(case.results(), case.results())
    assert "No number differs." in text and "Only in" not in text and "more than the code" not in text
    assert "0 of 0 differences within noise" in text


def test_images_of_different_size_are_no_noise() -> None:
    """Every image takes its own time; all of them a tenth less, give or take one percent."""
    times = [100.0 + 20 * i for i in range(20)]
    faster = [0.9 * time * (1 + 0.01 * (-1) ** i) for i, time in enumerate(times)]
    text = compare(run(timed(times)), run(timed(faster)))
    cells = line_of(text, "faster-V-39", "float32", "inference (ms)")
    assert cells[7] == "changed" and -11 < float(cells[5].removesuffix(" %")) < -9
    assert 0.5 < float(cells[6].removesuffix(" %")) < 1.5, "of the changes, not of the images"


def test_a_change_smaller_than_what_single_images_do_is_noise() -> None:
    times = [100.0 + 20 * i for i in range(20)]
    wobbling = [time * (1.01 + 0.05 * (-1) ** i) for i, time in enumerate(times)]
    text = compare(run(timed(times)), run(timed(wobbling)))
    assert line_of(text, "faster-V-39", "float32", "inference (ms)")[7] == "within noise"
    assert "1 of 1 differences within noise" in text


def test_runs_with_other_images_are_not_paired() -> None:
    times = [100.0, 110.0, 130.0, 150.0]
    before, after = run(timed(times)), run(timed([1.1 * time for time in times]))
    shuffled = replace(after, settings=replace(after.settings, seed=1))
    assert line_of(compare(before, after), "faster-V-39", "float32", "inference (ms)")[7] == "changed"
    text = compare(before, shuffled)
    assert line_of(text, "faster-V-39", "float32", "inference (ms)")[7] == "within noise"
    assert "do not pair" in text and "- seed: 0 | 1" in text
    assert "more than the code" in text


def test_every_kind_of_number_is_compared() -> None:
    before = case.with_ap(case.row(), 0.40)
    assert before.training_throughput is not None
    training = replace(before.training_throughput, per_process=8.5, step_seconds=case.times(0.235))
    after = replace(
        case.with_ap(case.row(scale=2.0), 0.41), parameters=41_704_037, training_throughput=training
    )
    text = compare(run(before), run(after))
    name = ("faster-V-39", "float32")
    assert line_of(text, *name, "inference (ms)")[3:] == ["190", "380", "+100.0 %", "0.0 %", "changed"]
    trained = line_of(text, *name, "training (images/s per process)")
    assert trained[3:6] == ["4.25", "8.50", "+100.0 %"] and trained[7] == "changed"
    memory = line_of(text, *name, "training memory (GB)")
    assert memory[3:] == ["3.460", "6.921", "+100.0 %", "exact", "changed"]
    assert line_of(text, *name, "inference at batch 2 (images/s)")[7] == "changed, noise not recorded"
    assert line_of(text, *name, "parameters")[3:5] == ["41,704,036", "41,704,037"]
    assert line_of(text, *name, "box AP")[3:6] == ["40.00", "41.00", "+2.5 %"]
    assert "GMACs" not in text and "1 numbers equal" in text


def test_the_peak_of_tensors_is_compared() -> None:
    before = run(case.on_cpu(case.row(), 4000.0, 3000.0))
    name = ("faster-V-39", "float32")
    text = compare(before, run(case.on_cpu(case.row(), 4100.0, 3300.0)))
    tensors = line_of(text, *name, "training memory, tensors (GB)")
    assert tensors[3:] == ["3.146", "3.460", "+10.0 %", "exact", "changed"]
    assert line_of(text, *name, "training memory (GB)")[7] == "changed, noise not recorded"


def test_rows_that_fail_now_and_rows_of_one_run_alone() -> None:
    fine, gone, new = case.row("R-50"), case.row("R-101"), case.row("V-57")
    broken = case.out_of_memory(fine)
    text = compare(run(fine, gone), run(broken, new), ("a.json", "b.json"))
    assert line_of(text, "faster-R-50", "float32", "status")[3:5] == ["ok", "out_of_memory"]
    memory = line_of(text, "faster-R-50", "float32", "training memory (GB)")
    assert memory[3:6] == ["3.146", "-", "-"]
    assert "Only in a.json: faster-R-101, float32" in text
    assert "Only in b.json: faster-V-57, float32" in text
    assert text.startswith("a.json: 2026-11-21")


def test_dtypes_and_peers_are_rows_of_their_own() -> None:
    peer = replace(case.row("R-50"), implementation="torchvision")
    before = case.results((case.row("R-50"), case.row("R-50", dtype="bfloat16")), (peer,))
    slower = case.row("R-50", dtype="bfloat16", scale=1.2)
    after = case.results((case.row("R-50"), slower), (replace(peer, parameters=1),))
    text = compare(before, after)
    assert line_of(text, "faster-R-50", "bfloat16", "inference (ms)")[7] == "changed"
    assert line_of(text, "faster-R-50 (torchvision)", "float32", "parameters")[4] == "1"
    assert "| faster-R-50 |" not in text.replace("bfloat16", "")


def test_another_machine_is_named() -> None:
    other = case.results()
    other = replace(other, environment=replace(other.environment, device="Card Two", date="2026-11-22"))
    text = compare(case.results(), other)
    assert "- device: Card <One> & Co | Card Two" in text and "- date" not in text


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save_results(path, case.results())
    assert load_results(path) == case.results()
    plain = json.loads(path.read_text())
    path.write_text(json.dumps({**plain, "schema_version": 999}))
    with pytest.raises(ValueError, match=r"a.json: schema_version: 999 is not \d+"):
        load_results(path)
