"""One step of the optimizer: batches forward and backward, losses watched, weights updated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from maskrcnn_benchmark.engine.loss_monitor import Batch, LossMonitor, Step
from maskrcnn_benchmark.engine.run_state import check_loss_scale
from maskrcnn_benchmark.engine.train_log import TrainLog
from maskrcnn_benchmark.engine.train_options import TrainOptions
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.random_state import random_state


class WeightUpdate:
    """Takes batches from the loader and updates the weights with them, an iteration a call.

    Attributes:
        scaler: of the loss in float16; disabled otherwise.
        lr: learning rate of the last iteration, of the first parameter group.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterator[Batch],
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        options: TrainOptions,
        log: TrainLog,
    ) -> None:
        self.model = model
        self.batches = batches
        self.optimizer = optimizer
        self.device = device
        self.options = options
        self.log = log
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision.dtype == torch.float16)
        self.lr = 0.0
        self._taken: list[Batch] = []
        self._monitor = LossMonitor(device, check_gradients=not self.scaler.is_enabled())

    def take_batches(self, iteration: int) -> None:
        """Takes the batches of the next call from the loader, before that changes anything.

        So a fault of the data leaves the run as it was after the iteration before.
        """
        self._taken = [self._next_batch(iteration) for _ in range(self.options.accumulation_steps)]

    def __call__(self, iteration: int, stop: bool) -> None:
        """One iteration, on the batches taken.

        stop: whether this process was asked to stop; see `LossMonitor.watch`.

        Raises:
            NonFiniteLoss: this iteration's losses or gradients, or those of one before; nothing was updated.
        """
        self.lr = float(self.optimizer.param_groups[0]["lr"])
        step = Step(iteration, self.lr, random_state(self.device), self._taken)
        self._taken = []
        losses = self._backward(step)
        self.scaler.unscale_(self.optimizer)
        grad_norm = clip_gradients(self.optimizer, self.options.clip_grad_norm)
        self.log.add_values(self._monitor.watch(step, losses, grad_norm, stop))
        if self.optimizer.defaults.get("fused") and not self.scaler.is_enabled():
            self.optimizer.found_inf = self._monitor.skip_update  # type: ignore[attr-defined]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def stop_agreed(self, asked: bool) -> bool:
        """Whether a process was asked to stop: the same in all after the same iteration.

        asked: whether this one was, for a run of one process.
        """
        return self._monitor.stop_requested if comm.get_world_size() > 1 else asked

    def finish(self) -> None:
        """Waits for the losses of every iteration so far, and puts them into the log; raises as a call."""
        self.log.add_values(self._monitor.drain())
        check_loss_scale(self.scaler)

    def _backward(self, step: Step) -> dict[str, Tensor]:
        """Forward and backward over the batches of one step; the gradient is that of their mean.

        Returns:
            The mean of each loss over the batches, 0-dim on the device.
        """
        options, device = self.options, self.device
        means: dict[str, Tensor] = {}
        for index, (images, targets, _) in enumerate(step.batches):
            with ExitStack() as stack:
                if index + 1 < options.accumulation_steps:
                    stack.enter_context(without_exchange(self.model))
                with options.precision.autocast(device):
                    losses = self.model(images.to(device, non_blocking=True), targets)
                total = torch.stack(list(losses.values())).sum() / options.accumulation_steps
                self.scaler.scale(self._monitor.guard(total)).backward()
            for name, loss in losses.items():
                mean = loss.detach() / options.accumulation_steps
                means[name] = means[name] + mean if name in means else mean
        return means

    def _next_batch(self, iteration: int) -> Batch:
        began = time.perf_counter()
        batch = next(self.batches, None)
        if batch is None:
            raise RuntimeError(f"the data loader ended in iteration {iteration} of {self.options.max_iter}")
        self.log.add_batch(len(batch[2]), time.perf_counter() - began)
        return batch


def without_exchange(model: nn.Module) -> Any:
    """The context in which gradients stay in their process, to be exchanged with a later batch's."""
    return model.no_sync() if isinstance(model, nn.parallel.DistributedDataParallel) else nullcontext()


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
    """The L2 norm of all gradients (0-dim), which are then scaled down to `max_norm` unless it is 0."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = get_total_norm([p.grad for p in parameters])
    if max_norm > 0:
        clip_grads_with_norm_(parameters, max_norm, norm)
    return norm
