"""Training memory as a report shows it, and the kind of it that is set against published numbers.

Those are the peaks of a GPU's allocator. On a CPU it is the peak of tensors that compares with them, not the
resident set; results written before that was measured have the resident set alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maskrcnn_benchmark.benchmark.report.number_text import number
from maskrcnn_benchmark.benchmark.row import Row

GB_PER_MIB = 2**20 / 1e9


def memory_gb(row: Row) -> float | None:
    """Peak training memory in GB of 10^9 bytes: allocated on a GPU, resident on a CPU."""
    memory = row.training_memory
    if memory is None:
        return None
    mib = memory.allocated_mib if memory.allocated_mib is not None else memory.peak_rss_mib
    return None if mib is None else mib * GB_PER_MIB


def tensors_gb(row: Row) -> float | None:
    """Peak of tensors in GB of 10^9 bytes; None on a GPU, where the allocated memory is just that."""
    mib = None if row.training_memory is None else row.training_memory.peak_tensors_mib
    return None if mib is None else mib * GB_PER_MIB


def have_tensors(rows: Sequence[Row]) -> bool:
    """Whether every row with training memory has the peak of tensors."""
    peaks = [tensors_gb(row) for row in rows if row.training_memory is not None]
    return bool(peaks) and None not in peaks


def comparable_memory(rows: Sequence[Row]) -> Callable[[Row], float | None]:
    """What of each row is compared; the same kind for all, as no ratio may mix two."""
    return tensors_gb if have_tensors(rows) else memory_gb


def memory_text(row: Row, missing: str) -> str:
    """ "3.91", or "3.91, tensors 3.12"."""
    whole, tensors = number(memory_gb(row), 2, missing), tensors_gb(row)
    return whole if tensors is None else f"{whole}, tensors {number(tensors, 2)}"
