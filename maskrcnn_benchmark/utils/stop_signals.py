"""SIGTERM and SIGINT as a request to stop at the next good moment."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While entered, the first SIGTERM or SIGINT is noted instead of ending the process; a second one ends
    it.

    `received` is the number of the noted signal, 0 without one. Outside the main thread, where Python takes
    no signals, this does nothing.
    """

    def __init__(self) -> None:
        self.received = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)


def leave_signals_to_parent(worker_id: int) -> None:
    """A `worker_init_fn` for data loaders: the worker ignores SIGTERM and SIGINT.

    A scheduler signals the whole group of processes. The training process finishes its iteration and then
    ends its workers; were they to die first, the iteration would fail for want of data.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
