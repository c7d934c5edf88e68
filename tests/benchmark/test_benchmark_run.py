"""Runs in processes of their own: kept rows, rows that do not fit, an interrupted run that goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmark import tiny_case
from benchmark.tiny_case import make_run, tiny_job, tiny_plan, tiny_settings

from maskrcnn_benchmark.benchmark.results import RESULTS_FILE, load_results, save_results
from maskrcnn_benchmark.benchmark.run import child
from maskrcnn_benchmark.benchmark.run.child import is_out_of_memory
from maskrcnn_benchmark.benchmark.run.environment import describe_environment
from maskrcnn_benchmark.benchmark.run.processes import Interrupted, Processes
from maskrcnn_benchmark.benchmark.run.resume import check_folder, resume, start_results
from maskrcnn_benchmark.utils.stop_signals import StopSignals

# The child with 2 GiB more than it holds once everything is imported.
LIMITED_CHILD = """
import resource, sys
from maskrcnn_benchmark.benchmark.run.child import main
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (2 << 30), held + (2 << 30)))
sys.exit(main(sys.argv[1:]))
"""


def statuses(folder: Path) -> dict[str, str]:
    """Of the rows in the folder's file."""
    return {row.name: row.status for row in load_results(folder / RESULTS_FILE).rows}


def test_a_row_without_memory_says_so_and_the_rest_goes_on(tmp_path: Path) -> None:
    run = make_run(tmp_path, tiny_plan(tmp_path, "first", "greedy", "broken", "last"), StopSignals())
    run.measure()
    assert statuses(tmp_path) == {
        "first": "ok",
        "greedy": "out_of_memory",
        "broken": "failed",
        "last": "ok",
    }
    rows = {row.name: row for row in load_results(tmp_path / RESULTS_FILE).rows}
    assert "SIGKILL during the training steps" in rows["greedy"].reason
    assert "exit status 3" in rows["broken"].reason
    assert rows["greedy"].parameters == 123, "inference is measured in another process then"
    assert (rows["greedy"].backbone, rows["greedy"].detector) == ("V-27-slim-FPN", "Mask R-CNN")


def test_an_interrupted_run_keeps_its_rows_and_goes_on(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "first", "hangs", "last")

    def interrupt() -> None:
        while not list((tmp_path / "work").glob("hangs.*.jsonl")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    with StopSignals() as signals:
        run = make_run(tmp_path, plan, signals)
        thread.start()
        with pytest.raises(Interrupted, match="SIGTERM"):
            run.measure()
    thread.join()
    assert statuses(tmp_path) == {"first": "ok"}
    journal = tmp_path / "work" / "first.maskrcnn_benchmark.float32.training-inference.jsonl"
    finished = journal.stat().st_mtime_ns
    renamed = [*plan[:1], *tiny_plan(tmp_path, "patient"), plan[2]]
    results = resume(tmp_path, start_results(describe_environment(torch.device("cpu")), tiny_settings()))
    make_run(tmp_path, renamed, StopSignals(), results).measure()
    assert statuses(tmp_path) == {"first": "ok", "patient": "ok", "last": "ok"}
    assert journal.stat().st_mtime_ns == finished, "a finished row is not measured again"


def test_a_type_without_instructions_is_said_so(tmp_path: Path) -> None:
    plan = [replace(row, dtype="bfloat16") for row in tiny_plan(tmp_path, "emulated", "native")]
    make_run(tmp_path, plan, StopSignals()).measure()
    emulated, native = load_results(tmp_path / RESULTS_FILE).rows
    assert (emulated.dtype, emulated.computed_in) == ("bfloat16", "float32")
    assert emulated.notes == (
        "Inference in float32, training in float32: this processor has no instructions for bfloat16.",
    )
    assert native.notes == ()


def test_failed_rows_are_measured_again(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "broken", "greedy")
    make_run(tmp_path, plan, StopSignals()).measure()
    results = resume(tmp_path, start_results(describe_environment(torch.device("cpu")), tiny_settings()))
    assert [row.name for row in results.rows] == ["greedy"]


def test_a_run_of_other_settings_is_not_continued(tmp_path: Path) -> None:
    environment = describe_environment(torch.device("cpu"))
    save_results(tmp_path / RESULTS_FILE, start_results(environment, tiny_settings()))
    with pytest.raises(ValueError, match=r"of another run: steps 1 -> 9"):
        resume(tmp_path, start_results(environment, tiny_settings(steps=9)))


def test_rows_kept_from_another_commit_say_so(tmp_path: Path) -> None:
    run = make_run(tmp_path, tiny_plan(tmp_path, "first"), StopSignals())
    run.results = replace(run.results, environment=replace(run.results.environment, commit="0ld"))
    run.measure()
    new = start_results(describe_environment(torch.device("cpu")), tiny_settings())
    for _ in range(2):  # continued twice, the note stands once
        results = resume(tmp_path, new)
        save_results(tmp_path / RESULTS_FILE, results)
    assert results.environment == new.environment
    assert len(results.rows[0].notes) == 1
    assert results.rows[0].notes[0].startswith("Measured at commit 0ld, ")


def test_folders_that_cannot_serve(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "folder", is_resumed=False)
    with pytest.raises(ValueError, match=r"holds no results.json"):
        check_folder(tmp_path / "new", is_resumed=True)
    (tmp_path / RESULTS_FILE).write_text("{}")
    with pytest.raises(ValueError, match="already holds the results of a run"):
        check_folder(tmp_path, is_resumed=False)
    with pytest.raises(ValueError, match="cannot be written"):
        check_folder(tmp_path / RESULTS_FILE / "below", is_resumed=False)


def test_of_two_processes_one_without_memory_ends_both(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = [tiny_case.__file__, str(tmp_path)]
    make_run(tmp_path, tiny_plan(tmp_path, "lonely", "together"), StopSignals())  # writes their files
    path = str(Path(tiny_case.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{path}/.."}
    ended = subprocess.run(
        [*command, *script], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert statuses(tmp_path) == {"lonely": "out_of_memory", "together": "ok"}


def test_a_system_that_lets_no_one_choose_who_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "OOM_SCORE", tmp_path / "score")
    child.be_killed_first()
    assert (tmp_path / "score").read_text() == "1000"
    monkeypatch.setattr(child, "OOM_SCORE", tmp_path)  # there, and not to be written
    child.be_killed_first()


def test_failed_allocations_are_known() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**50)
    assert is_out_of_memory(failed.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
def test_a_real_child_without_memory(tmp_path: Path) -> None:
    script = tmp_path / "limited.py"
    script.write_text(LIMITED_CHILD)
    processes = Processes(tmp_path, StopSignals(), (sys.executable, str(script)))
    job = tiny_job(tmp_path)
    vast = replace(job.settings, short_side=20000, long_side=40000)  # an image of 7 GB in float32
    outcome = processes.run(replace(job, settings=vast))
    assert outcome.status == "out_of_memory", outcome.reason
    assert "memory" in outcome.reason


def test_a_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """The parent is killed without a chance to end its child."""
    pid_file = tmp_path / "pid"
    child = (
        "import os, pathlib, time; from maskrcnn_benchmark.benchmark.run.child import die_with_parent; "
        f"die_with_parent(os.getppid()); pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); "
        "time.sleep(600)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        deadline = time.monotonic() + 60
        while not pid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.1)
        pid = int(pid_file.read_text())
        process.kill()
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()
