"""Signals to real processes: the iteration is finished, a checkpoint written, the run goes on exactly."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from engine import fake_run

from maskrcnn_benchmark.utils.stop_signals import StopSignals, leave_signals_to_parent, sigterm_held_back
from maskrcnn_benchmark.weights.checkpoint import read_checkpoint


def start(**arguments: object) -> subprocess.Popen[bytes]:
    """A training run of its own; its iterations are slow enough to be met by a signal."""
    # as many threads as here: sums are rounded in the order of the threads
    threads = str(torch.get_num_threads())
    environment = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, fake_run.__file__, json.dumps([arguments])], env=environment)


def wait_for(path: Path, text: str, seconds: float = 60.0) -> None:
    """Until the file exists and contains the text."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"no {text!r} in {path} after {seconds} s")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_finishes_the_iteration_and_writes_a_checkpoint(tmp_path: Path, number: int) -> None:
    process = start(folder=str(tmp_path), max_iter=5000, pause=0.05, log_period=1)
    wait_for(tmp_path / "metrics.jsonl", '"iteration": 3')
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    name = (tmp_path / "last_checkpoint").read_text()
    iteration = read_checkpoint(tmp_path / name)["iteration"]
    assert name == f"model_{iteration:07d}.pth"
    assert 3 <= iteration < 5000
    resumed = fake_run.train(tmp_path, iteration + 3, resume=True)[1]
    whole = fake_run.train(tmp_path / "whole", iteration + 3)[1]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor)


def test_first_signal_is_noted_and_a_launcher_may_repeat_it() -> None:
    with StopSignals() as signals:
        assert signals.received == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert signals.received == signal.SIGTERM


def test_who_insists_is_obeyed() -> None:
    with pytest.raises(KeyboardInterrupt), StopSignals(patience=0.05):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.06)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def obedient_worker(ready: Any) -> None:
    leave_signals_to_parent(0)
    ready.set()
    time.sleep(60)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_obeys_its_parent_alone(method: str) -> None:
    context = multiprocessing.get_context(method)
    ready = context.Event()
    worker = context.Process(target=obedient_worker, args=(ready,), daemon=True)
    with sigterm_held_back():
        worker.start()
    assert ready.wait(60)
    for name in ("TERM", "INT"):
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    worker.join(0.5)
    assert worker.is_alive()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0
