"""The axis of a plot: round ticks around all values, and where each value lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A range of values with round ticks, laid out between two pixels."""

    low: float
    high: float
    step: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """The round values, in order."""
        first = round(self.low / self.step)
        return [i * self.step for i in range(first, round(self.high / self.step) + 1)]


def make_axis(values: Sequence[float], start: float, end: float, most_ticks: int = 7) -> Axis:
    """An axis that holds all values with some room, its ends on round numbers."""
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05 * (abs(high) or 1.0)
    low, high = low - margin, high + margin
    rough = (high - low) / (most_ticks - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    return Axis(math.floor(low / step) * step, math.ceil(high / step) * step, step, start, end)


def tick_text(value: float, step: float) -> str:
    """A tick with as many digits as its neighbours need to differ."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
        digits += 1  # a step of 0.25
    return f"{value:.{digits}f}"
