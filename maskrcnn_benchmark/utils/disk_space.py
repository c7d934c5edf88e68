"""Enough room on the disk for a file, and what to say when there is not."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFullError(OSError):
    """There is no room for a file; what it would have replaced is as it was."""


@contextmanager
def room_for(path: str | os.PathLike[str], size: int) -> Iterator[None]:
    """Writing a file of about `size` bytes inside: refused before it begins where the disk has less room.

    Raises:
        DiskFullError: no room, before or while writing; the message says how much is missing.
    """
    folder = Path(path).parent
    if free_bytes(folder) < size:
        raise _full(path, size)
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _full(path, size) from error
    except RuntimeError as error:
        if not _follows_full_disk(error):
            raise
        raise _full(path, size) from error


def free_bytes(folder: Path) -> int:
    """What this user may still write there."""
    return shutil.disk_usage(folder).free


def _follows_full_disk(error: BaseException | None) -> bool:
    """Whether an error came of a full disk: torch's writer replaces the system's error by its own."""
    while error is not None and not (isinstance(error, OSError) and error.errno in FULL):
        error = error.__cause__ or error.__context__
    return error is not None


def _full(path: str | os.PathLike[str], size: int) -> DiskFullError:
    free = free_bytes(Path(path).parent)
    short = f"{_in_words(size - free)} are missing" if size > free else "a quota may allow less"
    return DiskFullError(
        errno.ENOSPC,
        f"the disk is full: {os.fspath(path)} needs {_in_words(size)}, {_in_words(free)} are free, {short}; "
        "what was there before is unharmed. Make room, or keep fewer checkpoints (SOLVER.KEEP_CHECKPOINTS 2)",
    )


def _in_words(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
