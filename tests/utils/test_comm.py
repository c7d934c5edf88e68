"""Exchange between processes, and its absence in a run of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from maskrcnn_benchmark.utils import comm

EXCHANGE = """
import json, torch
from maskrcnn_benchmark.utils import comm
comm.init_process_group(torch.device("cpu"))
rank = comm.get_rank()
losses = {"b": torch.tensor(1.0 + rank), "a": torch.tensor(3.0)}
reply = {
    "rank": rank,
    "main": comm.is_main_process(),
    "world": comm.get_world_size(),
    "all": comm.all_gather({"rank": rank, "bulk": "x" * (1 + 50_000 * rank)}),
    "main_only": comm.gather([rank]),
    "mean": {k: v.item() for k, v in comm.reduce_dict(losses).items()},
    "sum": comm.reduce_dict({"b": torch.tensor(1.0 + rank)}, average=False)["b"].item(),
}
comm.synchronize()
print(json.dumps(reply))
comm.destroy_process_group()
"""


def test_two_processes() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    base = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    base |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", EXCHANGE],
            env=base | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        replies = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
    everything = [{"rank": 0, "bulk": "x"}, {"rank": 1, "bulk": "x" * 50_001}]
    for rank, reply in enumerate(replies):
        assert reply["rank"] == rank
        assert reply["main"] == (rank == 0)
        assert reply["world"] == 2
        assert reply["all"] == everything
        assert reply["main_only"] == ([[0], [1]] if rank == 0 else None)
        assert reply["mean"] == {"a": 3.0, "b": 1.5}
        assert reply["sum"] == 3.0


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    comm.init_process_group(torch.device("cpu"))
    assert not comm.is_distributed()
    assert (comm.get_rank(), comm.get_world_size(), comm.is_main_process()) == (0, 1, True)
    assert comm.all_gather("x") == comm.gather("x") == ["x"]
    assert comm.reduce_dict({"a": torch.tensor(2.0)}) == {"a": torch.tensor(2.0)}
    model = torch.nn.Linear(1, 1)
    assert comm.distribute(model, torch.device("cpu")) is model
    comm.synchronize()
    comm.destroy_process_group()


def test_local_rank_of_either_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert comm.launched_local_rank() == 0
    assert comm.launched_local_rank(3) == 3
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert comm.launched_local_rank(0) == 2
