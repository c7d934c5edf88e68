"""Starts the process of a job and waits for it; with torchrun, one beside each of its processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maskrcnn_benchmark.benchmark.run.job import KILLED, Job, Outcome, read_journal
from maskrcnn_benchmark.benchmark.typed_json import to_plain
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.stop_signals import StopSignals

CHILD = "maskrcnn_benchmark.benchmark.run.child"
SECONDS_BETWEEN_LOOKS = 0.1
# A file that the process writes whose child failed: the children of the others would wait for that child.
BROKEN = "broken"


class Interrupted(Exception):
    """The run was asked to stop by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class Processes:
    """Runs jobs one after the other.

    Attributes:
        folder: for the files of a job; the same for all processes of torchrun, so on one machine, or on a
            folder that all machines see.
        command: what starts a child; the paths of its job and its journal are appended.
    """

    folder: Path
    signals: StopSignals
    command: Sequence[str] = field(default_factory=lambda: (sys.executable, "-m", CHILD))

    def run(self, job: Job) -> Outcome:
        """Runs the job and returns its outcome.

        Raises:
            Interrupted: a signal came; the child is gone.
        """
        stem = self.folder / f"{job.name}.{job.implementation}.{job.dtype}.{'-'.join(job.parts)}"
        job_file, journal = Path(f"{stem}.job.json"), Path(f"{stem}.jsonl")
        broken = Path(f"{stem}.{BROKEN}")
        if comm.is_main_process():
            self.folder.mkdir(parents=True, exist_ok=True)
            for left_over in (journal, broken):
                left_over.unlink(missing_ok=True)
            job_file.write_text(json.dumps(to_plain(job)), encoding="utf-8")
        port = comm.all_gather(free_port())[0]  # also waits for the files
        command = [*self.command, str(job_file), str(journal)]
        child = subprocess.Popen(command, env=child_environment(port), start_new_session=True)
        try:
            code = self._wait(child, broken)
        finally:
            end_group(child)
        if code != 0:
            broken.touch()
        codes = comm.all_gather(code)
        bad = [each for each in codes if each]
        return read_journal(journal, KILLED if KILLED in bad else next(iter(bad), 0))

    def _wait(self, child: subprocess.Popen[bytes], broken: Path) -> int | None:
        """The child's return code; None where it was ended because another process's child failed."""
        while child.poll() is None:
            if self.signals.received:
                raise Interrupted(self.signals.received)
            if comm.get_world_size() > 1 and broken.exists():
                return None
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return child.returncode


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Kills the child and every process that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def child_environment(port: int) -> dict[str, str]:
    """This process's environment, with a port where the children meet each other."""
    environment = dict(os.environ)
    if comm.launched_world_size() > 1:
        environment |= {"MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "False"}
    return environment
