"""What changed of one row between two runs, number by number, with the noise of each.

The noise of a time comes from the runs themselves. Both time the same images in the same order, so that every
image has a change of its own: nine tenths of these lie within the noise of the median one. Runs with other
settings are not paired; there it is the distance from the median to the 90th percentile, of both together.
It is not divided by the number of images, because two runs also differ in what all images of a run share:
clocks, temperature, other processes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from maskrcnn_benchmark.benchmark.report.quantities import (
    memory_gb,
    milliseconds,
    missing_word,
    number,
    tensors_gb,
    time_ms,
)
from maskrcnn_benchmark.benchmark.row import Row

EXACT = "exact"  # a number that the same code gives again to the last digit
UNKNOWN = "not recorded"

Two = tuple[float | None, float | None]


class Change(NamedTuple):
    """One number in both runs; None: not measured.

    Attributes:
        shown: the two in words.
        noise: as a logarithm, or EXACT, or UNKNOWN.
    """

    what: str
    values: Two
    shown: tuple[str, str]
    noise: float | str

    @property
    def logarithm(self) -> float | None:
        """Natural logarithm of after / before; None where one is missing or 0."""
        before, after = self.values
        return math.log(after / before) if before and after else None

    @property
    def noise_words(self) -> str:
        """The noise as a percentage, or what is said in its place."""
        return self.noise if isinstance(self.noise, str) else f"{100 * math.expm1(self.noise):.1f} %"

    @property
    def verdict(self) -> str:
        """Whether it changed, in words."""
        if self.logarithm is None:
            return "changed"
        if isinstance(self.noise, float):
            return "within noise" if abs(self.logarithm) <= self.noise else "changed"
        return "changed" if self.noise == EXACT else "changed, noise not recorded"


def row_changes(before: Row, after: Row, is_paired: bool) -> Iterator[Change]:
    """Every number of a row that one of the runs has measured.

    Args:
        is_paired: whether the n-th image of one run is the n-th image of the other.
    """
    times = (time_ms(before), time_ms(after))
    words = (
        milliseconds(times[0], missing_word(before)),
        milliseconds(times[1], missing_word(after)),
    )
    yield Change("inference (ms)", times, words, _inference_noise(before, after, is_paired))
    speeds = (_training_speed(before), _training_speed(after))
    yield _change("training (images/s per process)", speeds, 2, _training_noise(before, after, is_paired))
    both_allocated = _is_allocated(before) and _is_allocated(after)
    memory = (memory_gb(before), memory_gb(after))
    yield _change("training memory (GB)", memory, 3, EXACT if both_allocated else UNKNOWN)
    yield _change("training memory, tensors (GB)", (tensors_gb(before), tensors_gb(after)), 3, EXACT)
    batches = (_speeds_by_batch(before), _speeds_by_batch(after))
    for batch in sorted({*batches[0], *batches[1]}):
        speeds = (batches[0].get(batch), batches[1].get(batch))
        yield _change(f"inference at batch {batch} (images/s)", speeds, 2, UNKNOWN)
    yield _change("parameters", (before.parameters, after.parameters), 0, EXACT)
    yield _change("GMACs", (_gmacs(before), _gmacs(after)), 2, EXACT)
    for kind in ("box", "mask"):
        yield _change(f"{kind} AP", (_ap(before, kind), _ap(after, kind)), 2, EXACT)


def _change(what: str, values: Two, digits: int, noise: float | str) -> Change:
    return Change(what, values, (number(values[0], digits), number(values[1], digits)), noise)


def _training_speed(row: Row) -> float | None:
    return None if row.training_throughput is None else row.training_throughput.per_process


def _speeds_by_batch(row: Row) -> dict[int, float | None]:
    return {entry.batch_size: entry.images_per_second for entry in row.throughput}


def _is_allocated(row: Row) -> bool:
    return row.training_memory is not None and row.training_memory.allocated_mib is not None


def _gmacs(row: Row) -> float | None:
    return None if row.macs is None else row.macs.total / 1e9


def _ap(row: Row, kind: str) -> float | None:
    scores = None if row.ap is None else row.ap.box if kind == "box" else row.ap.mask
    value = None if scores is None else scores.get("AP")
    return None if value is None else 100 * value


def _inference_noise(before: Row, after: Row, is_paired: bool) -> float | str:
    one, other = before.inference, after.inference
    if one is None or other is None:
        return UNKNOWN
    if is_paired and one.times_ms and len(one.times_ms) == len(other.times_ms):
        return _paired_noise(one.times_ms, other.times_ms)
    return math.log(one.p90_ms / one.median_ms) + math.log(other.p90_ms / other.median_ms)


def _training_noise(before: Row, after: Row, is_paired: bool) -> float | str:
    one, other = before.training_throughput, after.training_throughput
    if one is None or other is None or not is_paired:
        return UNKNOWN
    if not one.step_seconds or len(one.step_seconds) != len(other.step_seconds):
        return UNKNOWN
    return _paired_noise(one.step_seconds, other.step_seconds)


def _paired_noise(before: Sequence[float], after: Sequence[float]) -> float:
    """The distance to the median change that nine tenths of the single changes stay within, as logarithms."""
    changes = [math.log(b / a) for a, b in zip(before, after, strict=True)]
    middle = statistics.median(changes)
    distances = sorted(abs(change - middle) for change in changes)
    return distances[math.ceil(0.9 * len(distances)) - 1]
