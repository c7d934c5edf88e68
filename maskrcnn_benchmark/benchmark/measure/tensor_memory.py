"""The memory of tensors on a CPU: what torch's own allocator handed out, counted by torch's profiler.

As on a GPU, this includes workspaces that oneDNN asks torch for. A process's resident set also holds what the
C library keeps of freed memory, and what libraries take by themselves.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path

from torch import Tensor
from torch.autograd.profiler import profile
from torch.profiler import kineto_available

ALLOCATION = "[memory]"  # the name of the trace's events for memory taken (bytes above 0) or given back


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Of their storages, each counted once."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def peak_bytes_of(run: Callable[[], object]) -> int | None:
    """The most bytes that tensors on the host made by `run` held at a time.

    What was there before does not count, freed or not. None: this torch's profiler sees no allocations.
    """
    if not kineto_available():
        return None
    with profile(profile_memory=True) as profiler:
        run()
    # The trace has every allocation; the profiler's lists of operators have but what is left of an operator's
    # own ones at its end.
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    allocations = sorted((each for each in events if each["name"] == ALLOCATION), key=lambda each: each["ts"])
    if not allocations:
        return None
    return max(0, *accumulate(each["args"]["Bytes"] for each in allocations))
