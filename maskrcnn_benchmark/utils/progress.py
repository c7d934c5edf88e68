"""A progress bar where somebody watches."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from maskrcnn_benchmark.utils import comm


class Progress:
    """A bar over the iterations of a run, on a terminal and in the main process; log lines go above it."""

    def __init__(self, done: int, total: int) -> None:
        self.shown = comm.is_main_process() and sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=done, unit="it", dynamic_ncols=True, disable=not self.shown)
        self.stack = ExitStack()

    def __enter__(self) -> tqdm[Any]:
        if self.shown:
            self.stack.enter_context(logging_redirect_tqdm([logging.getLogger("maskrcnn_benchmark")]))
        return self.bar

    def __exit__(self, *exception: object) -> None:
        self.stack.close()
        self.bar.close()
