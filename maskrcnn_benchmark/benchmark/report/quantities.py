"""The quantities of a row that a report shows, and how it writes them; "-" for what is not there.

Published training memory is the peak of a GPU's allocator. On a CPU the peak of tensors compares with it, not
the resident set. Results from before that was measured have the resident set alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maskrcnn_benchmark.benchmark.published import AreaAP
from maskrcnn_benchmark.benchmark.row import OUT_OF_MEMORY, Row

GB_PER_MIB = 2**20 / 1e9
NOT_THERE = "-"


def time_ms(row: Row) -> float | None:
    """Median milliseconds of one image."""
    return None if row.inference is None else row.inference.median_ms


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


def quotient(value: float | None, base: float | None) -> float | None:
    """`value` / `base` where both are known."""
    return value / base if value is not None and base else None


def number(value: float | None, digits: int = 1, missing: str = NOT_THERE) -> str:
    """A number for a table, with commas between thousands."""
    return missing if value is None else f"{value:,.{digits}f}"


def milliseconds(value: float | None, missing: str = NOT_THERE) -> str:
    """A time with at least three significant digits."""
    return number(value, 0 if value is not None and value >= 100 else 1, missing)


def ratio(value: float | None) -> str:
    """A ratio for a table."""
    return number(value, 2)


def memory_text(row: Row, missing: str) -> str:
    """ "3.91", or "3.91, tensors 3.12"."""
    whole, tensors = number(memory_gb(row), 2, missing), tensors_gb(row)
    return whole if tensors is None else f"{whole}, tensors {number(tensors, 2)}"


def area_text(value: AreaAP | None) -> str:
    """AP/APs/APm/APl, as the published tables write it; the AP alone where nothing else is known."""
    if value is None:
        return NOT_THERE
    if value[1:] == (None, None, None):
        return number(value.ap)
    return "/".join(number(entry) for entry in value)


def missing_word(row: Row) -> str:
    """What stands where a number of the row is missing."""
    if not row.reason:
        return NOT_THERE
    return "out of memory" if row.status == OUT_OF_MEMORY else "failed"
