"""benchmarks/run_all.sh with a Python that only notes what it is asked to run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run_all.sh"
EVERYWHERE = ["nms.py", "match_boxes.py", "roi_align.py", "detector.py", "training_memory.py"]
PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then echo "$KIND"; exit; fi
echo "$*" >> "$NOTES"
case "$*" in *"$BROKEN"*) exit 3;; esac
"""


@pytest.fixture
def run(tmp_path: Path) -> object:
    python, notes = tmp_path / "python", tmp_path / "notes"
    python.write_text(PYTHON)
    python.chmod(0o755)

    def start(kind: str, *parts: str, broken: str = "nothing") -> tuple[int, list[str], str]:
        """Exit status, the scripts that were run with their arguments, and what it complains of."""
        notes.write_text("")
        environment = os.environ | {"KIND": kind, "NOTES": str(notes), "BROKEN": broken}
        command = ["bash", str(SCRIPT), str(tmp_path / "results"), str(python), *parts]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        asked = [line for line in notes.read_text().splitlines() if "build_ext" not in line]
        return ended.returncode, [line for line in asked if "collect_env" not in line], ended.stderr

    return start


def scripts(lines: list[str]) -> list[str]:
    return [Path(line.split()[0]).name for line in lines]


def test_a_cpu_runs_all_but_what_needs_a_gpu(run) -> None:
    status, lines, _ = run("cpu")
    assert status == 0
    assert scripts(lines) == [*EVERYWHERE, "convolutions.py", "coco_eval.py", "benchmark.py"]
    assert "--device cpu" in lines[-1] and "--steps 2" in lines[-1]


def test_a_gpu_is_tested_first_and_measured_in_full(run) -> None:
    status, lines, _ = run("gpu")
    assert status == 0
    assert lines[0] == "-m pytest -q tests/gpu"
    assert scripts(lines[1:]) == [*EVERYWHERE, "benchmark.py"]
    assert all("--device cuda" in line for line in lines[1:] if "detector" not in line)
    assert "--steps" not in lines[-1]


def test_parts_by_name(run) -> None:
    assert scripts(run("gpu", "nms", "memory")[1]) == ["nms.py", "training_memory.py"]
    assert run("gpu", "tests")[1] == ["-m pytest -q tests/gpu"]


def test_one_that_fails_leaves_the_others(run) -> None:
    status, lines, errors = run("gpu", broken="nms.py")
    assert status == 1
    assert scripts(lines[1:]) == [*EVERYWHERE, "benchmark.py"]
    assert errors.strip() == "failed: nms"


def test_a_table_goes_on_where_it_was(run, tmp_path: Path) -> None:
    (line,) = run("gpu", "table")[1]
    assert "--resume" not in line
    folder = Path(line.split()[-1])
    folder.mkdir(parents=True)
    (folder / "results.json").write_text("{}")
    (line,) = run("gpu", "table")[1]
    assert "--resume" in line and line.endswith(str(folder))
