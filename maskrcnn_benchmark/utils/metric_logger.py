"""Series of numbers, smoothed for a log line."""

from __future__ import annotations

from collections import defaultdict, deque

from torch import Tensor


class SmoothedValue:
    """A series seen through its last `window_size` values, with the mean over all of it."""

    def __init__(self, window_size: int = 20) -> None:
        self.deque: deque[float] = deque(maxlen=window_size)
        self.total = 0.0
        self.count = 0

    def update(self, value: float) -> None:
        """Appends a value."""
        self.deque.append(value)
        self.total += value
        self.count += 1

    @property
    def median(self) -> float:
        """The median of the window; the lower of the two middle values of an even number."""
        values = sorted(self.deque)
        return values[(len(values) - 1) // 2]

    @property
    def avg(self) -> float:
        """The mean of the window."""
        return sum(self.deque) / len(self.deque)

    @property
    def global_avg(self) -> float:
        """The mean of everything so far."""
        return self.total / self.count


class MetricLogger:
    """Several named series, as one line."""

    def __init__(self, delimiter: str = "\t", window_size: int = 20) -> None:
        self.meters: defaultdict[str, SmoothedValue] = defaultdict(lambda: SmoothedValue(window_size))
        self.delimiter = delimiter

    def update(self, **values: float | Tensor) -> None:
        """Appends one value to each named series; a tensor on a GPU is waited for."""
        for name, value in values.items():
            self.meters[name].update(value.item() if isinstance(value, Tensor) else float(value))

    def __str__(self) -> str:
        """Median of the window and, in brackets, the mean of everything, for each series."""
        parts = (
            f"{name}: {meter.median:.4f} ({meter.global_avg:.4f})" for name, meter in self.meters.items()
        )
        return self.delimiter.join(parts)
