"""SIGTERM and SIGINT as a request to stop at the next good moment."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While entered, SIGTERM and SIGINT are noted instead of ending the process.

    `received` is the number of the first one, 0 without any. Later ones change nothing, because a scheduler
    and the launcher it also signals both reach a process; only a SIGINT that comes `patience` seconds after
    the first signal, from somebody who does not want to wait, interrupts (KeyboardInterrupt).
    Outside the main thread, where Python takes no signals, this does nothing.
    """

    def __init__(self, patience: float = 3.0) -> None:
        self.patience = patience
        self.received = 0
        self._received_at = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.received:
            self.received, self._received_at = number, now
        elif number == signal.SIGINT and now - self._received_at >= self.patience:
            raise KeyboardInterrupt


@contextmanager
def sigterm_held_back() -> Iterator[None]:
    """Processes and threads started inside begin with SIGTERM blocked, all their threads included.

    A worker that does not fork has threads of its libraries before `leave_signals_to_parent` runs in it; one
    that does not block the signal would let it end the process.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals_to_parent(worker_id: int) -> None:
    """A `worker_init_fn` of data loaders: the worker ignores SIGINT, and SIGTERM but from its parent.

    A scheduler signals the whole group of processes. The training process finishes its iteration and then
    ends its workers; were they to die first, the iteration would fail for want of data. Workers must be
    started under `sigterm_held_back`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where workers die of a SIGTERM to the group
        # Only who waits for a signal learns its sender. Threads that start later inherit the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_parent_asks, args=(os.getppid(),), daemon=True).start()


def _end_when_parent_asks(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
