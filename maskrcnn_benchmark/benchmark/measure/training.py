"""Training steps as they are measured: memory and images per second of forward, backward and optimizer."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.benchmark.measure.images import Images, Sample
from maskrcnn_benchmark.benchmark.measure.memory import bytes_of, peak_bytes_of
from maskrcnn_benchmark.benchmark.measure.saved_tensors import SavedTensors
from maskrcnn_benchmark.benchmark.measure.subject import Subject
from maskrcnn_benchmark.benchmark.row import SavedForBackward, TrainingThroughput
from maskrcnn_benchmark.engine.inference_time import wait_for
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.device import MIB, reset_peak_memory

WARM_UP_STEPS = {"cpu": 1, "cuda": 3}


@dataclass
class TrainingRun:
    """Training steps over this process's images; the learning rate is 0, so no step changes the load."""

    subject: Subject
    optimizer: torch.optim.Optimizer
    images: Images
    images_per_process: int

    def __post_init__(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        self.subject.model.train()
        self._unwrapped = self.subject.model
        self._steps_done = 0
        self._largest = (0, 0)  # padded pixels and number of the largest batch so far

    def distribute(self) -> None:
        """Exchanges gradients with the other processes from now on."""
        self.subject.model = comm.distribute(self._unwrapped, self.subject.device)

    def close(self) -> None:
        """Unwraps the detector, and frees the memory of gradients and momentum."""
        self.subject.model = self._unwrapped
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()

    def warm_up(self) -> None:
        """Runs the steps that do not count."""
        for _ in range(WARM_UP_STEPS[self.subject.device.type]):
            self.step()

    def run(self, steps: int) -> list[float]:
        """Runs `steps` steps and returns the seconds of each; resets the memory's peaks first, on a GPU."""
        wait_for(self.subject.device)
        reset_peak_memory(self.subject.device)
        return [self.step() for _ in range(steps)]

    def step(self) -> float:
        """Runs one step and returns its seconds, from the images on the host to the updated weights.

        Raises:
            RuntimeError: a loss is not finite, which no number of this run would survive.
        """
        number = self._steps_done * comm.get_world_size() + comm.get_rank()
        self._steps_done += 1
        return self._step_on(number)

    def _step_on(self, number: int) -> float:
        """Runs a step on batch `number` of the images; returns its seconds."""
        batch = self._batch(number)
        wait_for(self.subject.device)
        start = time.perf_counter()
        total = _sum(self.subject.losses(batch))
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        wait_for(self.subject.device)
        seconds = time.perf_counter() - start
        loss = float(total.detach())
        if not math.isfinite(loss):
            raise RuntimeError(f"the loss of step {self._steps_done} is {loss}")
        return seconds

    def _batch(self, number: int) -> Any:
        samples = self.images.train_batch(number, self.images_per_process)
        self._largest = max(self._largest, (padded_pixels(samples), number))
        return self.subject.collate(samples)

    def peak_tensors_mib(self) -> float | None:
        """MiB at the peak of tensors in one more step, on the largest batch so far, without other processes.

        For a model on a CPU; None where torch does not tell.
        """
        model, states = self._unwrapped, self.optimizer.state.values()
        kept = [value for state in states for value in state.values() if isinstance(value, Tensor)]
        there = bytes_of([*model.parameters(), *model.buffers(), *kept])
        with self._alone():
            made = peak_bytes_of(lambda: self._step_on(self._largest[1]))
        return None if made is None else (there + made) / MIB

    def breakdown(self) -> list[SavedForBackward]:
        """What one more forward pass of this process's model saves."""
        saved = SavedTensors(self._unwrapped)
        batch = self._batch(0)
        with self._alone(), saved.counting():
            total = _sum(self.subject.losses(batch))
        del total
        return saved.breakdown()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While entered, no gradients are exchanged."""
        model, self.subject.model = self.subject.model, self._unwrapped
        try:
            yield
        finally:
            self.subject.model = model


def padded_pixels(samples: Sequence[Sample]) -> int:
    """Pixels of the smallest image that holds each of them."""
    heights, widths = zip(*(sample.image.shape[1:] for sample in samples), strict=True)
    return int(max(heights) * max(widths))


def training_throughput(step_seconds: list[float], images_per_process: int) -> TrainingThroughput:
    """Throughput of all processes, each from the median of its own steps."""
    own = images_per_process / statistics.median(step_seconds)
    every = comm.all_gather(own)
    return TrainingThroughput(sum(every) / len(every), sum(every), len(every), tuple(step_seconds))


def make_plain_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum over all trainable parameters, for detectors that have no config."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(parameters, lr=0.02, momentum=0.9, weight_decay=1e-4, fused=True)


def _sum(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()
