"""How the process gets memory for tensors on the CPU."""

from __future__ import annotations

import ctypes
import sys

# Of glibc's malloc.h: parameters of mallopt.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Asks the C library to keep freed memory for the next tensors instead of giving it back.

    By default glibc maps every large tensor anew and gives it back when freed, so that each one costs the
    kernel a page fault for every 4 KiB: up to a fifth of the time of a network on the CPU. Called once,
    before the first tensor. Returns whether the C library took it (glibc on Linux does).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
