"""Peaks of training memory: of a GPU's allocator; on a CPU of the process, and of tensors alone.

The peak of tensors is what torch's own allocator handed out, counted by torch's profiler. As on a GPU, it
includes workspaces that oneDNN asks torch for. A process's resident set also holds freed memory that the C
library keeps, and what libraries take by themselves.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.profiler import profile
from torch.profiler import kineto_available

from maskrcnn_benchmark.benchmark.row import TrainingMemory
from maskrcnn_benchmark.utils.device import memory_in_use

PEAK_RSS_LABEL = "peak RSS above the idle process (CPU)"
ALLOCATED_LABEL = "peak allocated"
ALLOCATION = "[memory]"  # the name of the trace's events for memory taken (bytes above 0) or given back


def resident_mib() -> float:
    """MiB of this process's resident set now; its peak where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return memory_in_use(torch.device("cpu"))["peak_rss"]


def peak_training_memory(device: torch.device, idle_mib: float, steps: int) -> TrainingMemory:
    """The peaks since the last reset (GPU), or of this process above `idle_mib` (CPU)."""
    peaks = memory_in_use(device)
    if device.type == "cuda":
        allocated, reserved = peaks["memory_allocated"], peaks["memory_reserved"]
        return TrainingMemory(ALLOCATED_LABEL, allocated, reserved, None, None, steps, None)
    above = max(peaks["peak_rss"] - idle_mib, 0.0)
    return TrainingMemory(PEAK_RSS_LABEL, None, None, above, idle_mib, steps, None)


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensors' storages, each storage counted once."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def peak_bytes_of(run: Callable[[], object]) -> int | None:
    """The largest number of bytes that host tensors made by `run` hold at one time.

    What was there before does not count, freed or not. None: this torch's profiler sees no allocations.
    """
    if not kineto_available():
        return None
    with profile(profile_memory=True) as profiler:
        run()
    # The trace has every allocation; the profiler's lists of operators have only what is left of an
    # operator's own allocations at its end.
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    allocations = sorted((each for each in events if each["name"] == ALLOCATION), key=lambda each: each["ts"])
    if not allocations:
        return None
    return max(0, *accumulate(each["args"]["Bytes"] for each in allocations))
