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
    """A bar over the iterations of a run, on a terminal and in the main process; log lines go above it.

    It is there until `close`, or the end of the `with` block.
    """

    def __init__(self, done: int, total: int) -> None:
        shown = comm.is_main_process() and sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=done, unit="it", dynamic_ncols=True, disable=not shown)
        self.stack = ExitStack()
        if shown:
            self.stack.enter_context(logging_redirect_tqdm([logging.getLogger("maskrcnn_benchmark")]))

    def update(self) -> None:
        """One iteration more."""
        self.bar.update()

    def close(self) -> None:
        """Takes the bar away."""
        self.stack.close()
        self.bar.close()

    def __enter__(self) -> tqdm[Any]:
        return self.bar

    def __exit__(self, *exception: object) -> None:
        self.close()
