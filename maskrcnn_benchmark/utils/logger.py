"""Where the log goes: the screen and OUTPUT_DIR/log.txt."""

from __future__ import annotations

import logging
import os
import sys

FORMAT = "%(asctime)s %(name)s %(levelname)s: %(message)s"


def setup_logger(
    name: str, save_dir: str | os.PathLike[str] | None, distributed_rank: int = 0, filename: str = "log.txt"
) -> logging.Logger:
    """The logger `name`, and all below it, set to write to the screen and to `save_dir/filename` (appending).

    Processes other than the main one write warnings and errors only, to the screen, with their rank.
    A second call replaces the handlers of the first.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO if distributed_rank == 0 else logging.WARNING)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    rank = "" if distributed_rank == 0 else f"[rank {distributed_rank}] "
    handlers: list[logging.Handler] = [logging.StreamHandler(stream=sys.stdout)]
    if save_dir and distributed_rank == 0:
        handlers.append(logging.FileHandler(os.path.join(save_dir, filename), encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter(rank + FORMAT))
        logger.addHandler(handler)
    return logger
