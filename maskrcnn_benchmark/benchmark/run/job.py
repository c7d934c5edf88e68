"""What one child process measures, and the journal in which it leaves its measures one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.benchmark.results import Settings
from maskrcnn_benchmark.benchmark.row import FAILED, OK, OUT_OF_MEMORY
from maskrcnn_benchmark.benchmark.typed_json import to_plain

INFERENCE, TRAINING = "inference", "training"
# Training comes first: the peak of a process's resident memory cannot be reset.
PARTS = (TRAINING, INFERENCE)
PREPARATION = "the preparation"  # before anything is measured
KILLED = -9  # the return code of a process ended by SIGKILL


@dataclass(frozen=True)
class Job:
    """What one process measures of a row.

    Attributes:
        device: auto, cpu or cuda.
        detector: as in `Row`.
        parts: of PARTS.
        weights: path; None for random ones.
        folder: for files of the evaluation.
    """

    name: str
    config: str
    implementation: str
    detector: str
    dtype: str
    parts: tuple[str, ...]
    device: str
    weights: str | None
    folder: str
    settings: Settings


class Journal:
    """A file of JSON lines that survives its writer: what was begun, measured, and what went wrong."""

    def __init__(self, path: str | os.PathLike[str], is_kept: bool = True) -> None:
        """`is_kept`: whether this process is the one whose measures count."""
        self.path = Path(path)
        self.is_kept = is_kept

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Notes what is under way, so that the reason can name it if the process dies."""
        self._write({"begin": name})
        yield

    def add(self, name: str, value: Any) -> None:
        """A measure (a dataclass, or a plain value) under its name in `Row`; a later one replaces it."""
        self._write({"measure": name, "value": to_plain(value)})

    def fail(self, status: str, reason: str) -> None:
        """Notes why this process measures no further."""
        self._write({"status": status, "reason": reason})

    def _write(self, entry: dict[str, Any]) -> None:
        if self.is_kept:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


@dataclass
class Outcome:
    """What a journal holds at its end. begun: what was under way last; reason: "" where status is ok."""

    status: str = OK
    reason: str = ""
    begun: str = PREPARATION
    measures: dict[str, Any] = field(default_factory=dict)


def read_journal(path: str | os.PathLike[str], return_code: int) -> Outcome:
    """The outcome of a child process that ended with `return_code` (below 0: by that signal)."""
    outcome = Outcome()
    lines = Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:  # the last line of a process that was killed while it wrote
            continue
        outcome.begun = entry.get("begin", outcome.begun)
        if "measure" in entry:
            outcome.measures[entry["measure"]] = entry["value"]
        if "status" in entry and outcome.status != OUT_OF_MEMORY:
            outcome.status, outcome.reason = entry["status"], entry["reason"]
    if return_code == KILLED and outcome.status != OUT_OF_MEMORY:
        outcome.status = OUT_OF_MEMORY  # whatever the others of a group say of the one that is gone
        outcome.reason = f"killed by SIGKILL during {outcome.begun}, as where memory runs out"
    elif return_code != 0 and outcome.status == OK:
        end = f"signal {-return_code}" if return_code < 0 else f"exit status {return_code}"
        outcome.status = FAILED
        outcome.reason = f"the process ended with {end} during {outcome.begun}; its output says more"
    return outcome
