"""The log line and the record of a training run: losses, learning rate, speed, memory, time left."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch

from maskrcnn_benchmark.engine.loss_monitor import GRAD_NORM, Step
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.device import memory_in_use
from maskrcnn_benchmark.utils.metric_logger import MetricLogger
from maskrcnn_benchmark.utils.metric_writers import Record

logger = logging.getLogger("maskrcnn_benchmark.trainer")

MEMORY_LABELS = {
    "memory_allocated": "max mem allocated",
    "memory_reserved": "max mem reserved",
    "peak_rss": "peak RSS (CPU)",
}


class TrainLog:
    """Gathers what happens between two log lines.

    Speeds are means over the window of the wall clock, evaluation and checkpoints left out, over all
    processes.
    """

    def __init__(self, start: int, max_iter: int, log_period: int, device: torch.device) -> None:
        self.start = self.last = start  # iterations at which the run and this window began
        self.max_iter = max_iter
        self.device = device
        self.meters = MetricLogger(delimiter="  ", window_size=log_period)
        self.window_start = time.perf_counter()
        self.images = 0  # in this window and process
        self.data_time = 0.0  # seconds spent waiting for data in this window
        self.total_time = 0.0

    def add_values(self, steps: Sequence[Step]) -> None:
        """Takes the losses of iterations whose values have been read."""
        for step in steps:
            values = step.values()
            loss = sum(value for name, value in values.items() if name != GRAD_NORM)
            self.meters.update(loss=loss, **values)

    def add_batch(self, num_images: int, data_time: float) -> None:
        """Counts a batch: its images in this process, the seconds it was waited for."""
        self.images += num_images
        self.data_time += data_time

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens in the block is not training: its seconds are left out."""
        began = time.perf_counter()
        yield
        self.window_start += time.perf_counter() - began

    def close_window(self, iteration: int, lr: float) -> Record:
        """Logs the line of the window, returns its record, and starts the next one. All losses are in."""
        now = time.perf_counter()
        seconds = now - self.window_start
        iterations = iteration - self.last
        self.total_time += seconds
        eta = (self.max_iter - iteration) * self.total_time / (iteration - self.start)
        images_per_second = self.images * comm.get_world_size() / max(seconds, 1e-9)
        memory = memory_in_use(self.device)
        record: dict[str, float | int | str] = {"kind": "train", "iteration": iteration, "lr": lr}
        record |= {name: meter.avg for name, meter in self.meters.meters.items()}
        record |= {
            "images_per_second": images_per_second,
            "iteration_time": seconds / iterations,
            "data_time": self.data_time / iterations,
            "eta_seconds": eta,
        }
        record |= memory
        line = "  ".join(
            [
                f"iter: {iteration}/{self.max_iter}",
                f"eta: {timedelta(seconds=int(eta))}",
                str(self.meters),
                f"lr: {lr:.6g}",
                f"images/s: {images_per_second:.2f}",
                f"time: {seconds / iterations:.4f}",
                f"data: {self.data_time / iterations:.4f}",
                *(f"{MEMORY_LABELS[name]}: {value:.0f} MiB" for name, value in memory.items()),
            ]
        )
        self.window_start = now
        self.last, self.images, self.data_time = iteration, 0, 0.0
        logger.info(line)
        return record
