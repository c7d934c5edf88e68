"""The process that measures one row: `python -m ....child job.json journal.jsonl`.

A process of its own has a peak memory of its own, and may be killed where memory runs out without taking the
other rows along.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from maskrcnn_benchmark.benchmark.measure.memory import resident_mib
from maskrcnn_benchmark.benchmark.row import FAILED, OUT_OF_MEMORY
from maskrcnn_benchmark.benchmark.run.job import Job, Journal
from maskrcnn_benchmark.benchmark.run.measure_row import measure_row
from maskrcnn_benchmark.benchmark.typed_json import from_plain
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.device import resolve_device
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory

# Of Linux: the process that the kernel kills first where memory runs out.
OOM_SCORE = Path("/proc/self/oom_score_adj")
KILLED_FIRST = "1000"
LONGEST_REASON = 400
SECONDS_BETWEEN_LOOKS = 0.5
# torch's profiler complains of a GPU that is not there; levels end below this one.
PROFILER_LOG_LEVEL = "KINETO_LOG_LEVEL", "99"


def main(arguments: Sequence[str]) -> int:
    """Measures; returns 0 where everything was measured, 1 where the journal says why not."""
    job_file, journal_file = arguments
    die_with_parent(os.getppid())
    be_killed_first()
    keep_freed_memory()
    os.environ.setdefault(*PROFILER_LOG_LEVEL)
    job = from_plain(Job, json.loads(Path(job_file).read_text(encoding="utf-8")))
    journal = Journal(journal_file)
    try:
        device = resolve_device(job.device, comm.launched_local_rank())
        comm.init_process_group(device)
        journal.is_kept = comm.is_main_process()
        torch.zeros((), device=device)  # the device's own memory belongs to the idle process
        idle_mib = resident_mib()
        measure_row(job, journal, device, idle_mib)
    except Exception as error:
        if not isinstance(error, ValueError):  # what a user can mend needs no traceback
            traceback.print_exc()
        journal.is_kept = True
        journal.fail(OUT_OF_MEMORY if is_out_of_memory(error) else FAILED, in_short(error))
        os._exit(1)  # other processes of the group may wait for this one: no farewell that waits for them
    comm.destroy_process_group()
    return 0


def die_with_parent(parent: int) -> None:
    """Ends this process once `parent` is not its parent any more.

    The parent may have been killed without a chance to end its children.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def be_killed_first() -> None:
    """Asks the kernel to kill this process first where memory runs out, as far as the system allows it."""
    with contextlib.suppress(OSError):  # not Linux, or a container whose /proc cannot be written
        OOM_SCORE.write_text(KILLED_FIRST)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the device or the host."""
    words = ("can't allocate memory", "not enough memory", "std::bad_alloc")
    is_allocation = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or is_allocation


def in_short(error: BaseException) -> str:
    """The start of an error's first line, with the error's class unless it is a ValueError."""
    text = textwrap.shorten((str(error).splitlines() or [""])[0], LONGEST_REASON, placeholder=" ...")
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
