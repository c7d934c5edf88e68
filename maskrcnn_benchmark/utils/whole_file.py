"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

TEMPORARY_SUFFIX = ".tmp"


@contextmanager
def open_whole(path: str | os.PathLike[str], binary: bool = False) -> Iterator[IO[Any]]:
    """A file (text, or bytes) that appears under its name only once everything is written and on the disk.

    A process killed half-way leaves the previous file, if there was one. The temporary name carries the
    process id, so that two writers never share it, and ends in `.tmp`, so that what a killed one left is
    found.
    """
    path = os.fspath(path)
    temporary = f"{path}.{os.getpid()}{TEMPORARY_SUFFIX}"
    try:
        with open(temporary, "wb" if binary else "w", encoding=None if binary else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(os.path.dirname(path) or ".")
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def _sync_folder(folder: str) -> None:
    """Makes the new name itself survive a power cut, where the system can (POSIX)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot sync a folder; the file itself is safe
    finally:
        os.close(handle)
