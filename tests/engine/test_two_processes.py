"""Two gloo processes train as one: the same result, no hang, one end for both."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch
from engine import fake_run

from maskrcnn_benchmark.weights.checkpoint import read_checkpoint


def start_pair(*runs: dict[str, object]) -> list[subprocess.Popen[str]]:
    """Both processes, as a launcher starts them, for one run after the other."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(2):
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": "2",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, fake_run.__file__, json.dumps(runs)],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def run_pair(*runs: dict[str, object]) -> list[tuple[int, str]]:
    """Exit status and stderr of both processes."""
    processes = start_pair(*runs)
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, error) for process, error in zip(processes, errors, strict=True)]


def test_same_weights_as_one_process(tmp_path: Path) -> None:
    cases = [
        {"folder": str(tmp_path / f"two{steps}"), "max_iter": 7, "noisy": False, "accumulation_steps": steps}
        for steps in (1, 2)
    ]
    assert [code for code, _ in run_pair(*cases)] == [0, 0]
    for case in cases:
        two = read_checkpoint(Path(str(case["folder"])) / "model_final.pth")
        one = fake_run.train(**case | {"folder": tmp_path / "one"})[1].state_dict()  # type: ignore[arg-type]
        torch.testing.assert_close(two["model"], dict(one), rtol=1e-5, atol=1e-6)
        assert len(two["random_states"]) == 2


def test_resume_is_exact_and_a_rank_without_ground_truth_does_not_hang(tmp_path: Path) -> None:
    runs = [
        {"folder": str(tmp_path / folder), "max_iter": max_iter, "resume": resume, "empty_rank": 1}
        for folder, max_iter, resume in (("whole", 6, False), ("parts", 3, False), ("parts", 6, True))
    ]
    ended = run_pair(*runs)
    assert [code for code, _ in ended] == [0, 0], ended
    whole = read_checkpoint(tmp_path / "whole" / "model_final.pth")
    parts = read_checkpoint(tmp_path / "parts" / "model_final.pth")
    for name, tensor in whole["model"].items():
        assert torch.equal(parts["model"][name], tensor)
    for rank in range(2):
        assert torch.equal(whole["random_states"][rank]["torch"], parts["random_states"][rank]["torch"])


def test_both_stop_early_at_the_same_iteration(tmp_path: Path) -> None:
    """Only the main process knows the results; and the pair, resumed, trains nothing more."""
    run = {"folder": str(tmp_path), "max_iter": 9, "eval_period": 2, "aps": [0.3, 0.2, 0.1], "patience": 2}
    ended = run_pair(run, run | {"resume": True, "aps": []})
    assert [code for code, _ in ended] == [0, 0], ended
    assert read_checkpoint(tmp_path / "model_final.pth")["iteration"] == 6
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_both_stop_at_a_loss_that_is_non_finite_in_one(tmp_path: Path) -> None:
    (code0, error0), (code1, error1) = run_pair({"folder": str(tmp_path), "max_iter": 9, "broken_image": 17})
    assert code0 == code1 == 1
    # image 17 went to process 1
    assert "loss of another process in iteration 5, process 0" in error0
    assert "non-finite loss in iteration 5, process 1" in error1
    assert "loss_box_reg nan" in error1
    assert (tmp_path / "nonfinite_0000005_rank1.pth").is_file()


def test_a_signal_to_one_stops_both_at_the_same_iteration(tmp_path: Path) -> None:
    processes = start_pair({"folder": str(tmp_path), "max_iter": 5000, "pause": 0.05, "log_period": 1})
    end = time.monotonic() + 60
    while not (tmp_path / "metrics.jsonl").exists() or not (tmp_path / "metrics.jsonl").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    assert [process.wait(timeout=60) for process in processes] == [143, 143]
    for process in processes:
        assert process.stderr is not None
        process.stderr.close()
    name = (tmp_path / "last_checkpoint").read_text()
    assert read_checkpoint(tmp_path / name)["iteration"] > 0
