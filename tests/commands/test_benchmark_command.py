"""`maskrcnn-benchmark benchmark` from arguments to files, with real children; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark.tiny_case import tiny_config
from scripts import TOOLS, run_script

from maskrcnn_benchmark.benchmark.results import load_results
from maskrcnn_benchmark.benchmark.run import environment
from maskrcnn_benchmark.utils.device import MIB

SCRIPT = TOOLS / "benchmark.py"


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    """One row of a small detector, on the CPU."""
    config, folder = tiny_config(tmp_path), str(tmp_path / "out")
    counts = ["--images", "2", "--steps", "1", "--batch-sizes", "2"]
    return ["--quick", "--device", "cpu", "--configs", config, "--output-dir", folder, *counts]


def test_a_row_from_arguments_to_files(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "commit", lambda: "abc1234")  # whatever else is being edited
    assert run_script(SCRIPT, *asked, "--memory-breakdown") == 0
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "results.json", "table.md"]
    results = load_results(folder / "results.json")
    assert results.settings.quick
    assert (results.environment.device_type, results.environment.commit) == ("cpu", "abc1234")
    (row,) = results.rows
    assert (row.name, row.status, row.parameters) == ("tiny", "ok", 3234229)
    assert row.inference is not None and len(row.inference.times_ms) == 2
    assert row.inference.split is not None and row.macs is not None and row.load is not None
    assert [each.batch_size for each in row.throughput] == [2]
    memory = row.training_memory
    assert memory is not None and memory.breakdown is not None
    assert memory.peak_rss_mib is not None and memory.idle_rss_mib is not None
    assert memory.peak_rss_mib > 50, "weights, gradients and what two images leave for backward"
    assert memory.idle_rss_mib > 100, "an interpreter with torch in it"
    weights = row.parameters * 4 / MIB
    assert memory.peak_tensors_mib is not None and memory.peak_tensors_mib > 3 * weights
    assert 0 < sum(each.mib for each in memory.breakdown) < memory.peak_rss_mib
    assert row.training_throughput is not None and row.training_throughput.num_processes == 1
    assert row.ap is None
    # a complete run has nothing left to do, and a new one needs a folder of its own
    assert run_script(SCRIPT, *asked, "--memory-breakdown", "--resume") == 0
    assert load_results(folder / "results.json") == results
    with pytest.raises(SystemExit, match="already holds the results of a run"):
        run_script(SCRIPT, *asked)
    files = [str(folder / "results.json")] * 2
    capsys.readouterr()
    assert run_script(SCRIPT, "--compare", *files) == 0
    assert str(folder) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--steps", "0"], "error: --steps 0 must be 1 or more"),
        (["--configs", "mask-V-3"], "nearest: mask-V-.*mask-V-39"),
        (["--peers", "nobody"], "--peers 'nobody' is unknown"),
        (["--weights-dir", "/nowhere"], "--weights-dir '/nowhere' is no folder"),
        (["--output-dir", "/proc/nowhere"], "cannot be written"),
        (["--resume"], "holds no results.json"),
    ],
)
def test_bad_input(more: list[str], message: str, asked: list[str]) -> None:
    with pytest.raises(SystemExit, match=message):
        run_script(SCRIPT, *asked, *more)


def test_a_device_of_no_kind(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_script(SCRIPT, *asked, "--device", "gpu")
    assert "--device: invalid choice: 'gpu'" in capsys.readouterr().err


def test_results_of_another_schema_are_not_compared(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(SystemExit, match=r"results.json: schema_version: 99 is not 1"):
        run_script(SCRIPT, "--compare", file, file)
