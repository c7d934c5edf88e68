"""Looks at every iteration's losses without making the GPU wait, and stops the run at a non-finite one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.utils import comm

Batch = tuple[ImageList, list[BoxList], tuple[int, ...]]  # images, targets, indices into the dataset

# A GPU's numbers are read this many iterations after they were asked for. They have arrived by then, and
# every process reads at the same iteration, so that all of them stop together.
GPU_LAG = 2
GRAD_NORM = "grad_norm"


@dataclass
class Step:
    """One iteration, with what explains and replays it, until its losses are known to be finite."""

    iteration: int
    lr: float
    random_state: dict[str, Any]  # before the iteration
    batches: list[Batch] = field(default_factory=list)  # as the loader gave them
    names: list[str] = field(default_factory=list)  # the losses', then GRAD_NORM
    own: Tensor = field(default_factory=lambda: torch.zeros(0))  # this process's values, in host memory
    shared: Tensor = field(
        default_factory=lambda: torch.zeros(0)
    )  # means over the processes, then the stop request
    arrived: torch.cuda.Event | None = None

    def values(self) -> dict[str, float]:
        """The means over the processes, by name."""
        return dict(zip(self.names, self.shared.tolist(), strict=False))

    def own_values(self) -> dict[str, float]:
        """This process's values by name."""
        return dict(zip(self.names, self.own.tolist(), strict=True))


class NonFiniteLoss(Exception):
    """Losses or gradients of an iteration are not finite; carries the iteration."""

    def __init__(self, step: Step) -> None:
        super().__init__(f"iteration {step.iteration}: {step.own_values()}")
        self.step = step


class LossMonitor:
    """Watches the losses of every iteration.

    On a CPU they are read at once, before the update. On a GPU they are read GPU_LAG iterations later; until
    then `gate` (NaN from the first non-finite loss on) makes every further gradient NaN, and `skip_update`
    tells the fused optimizer to leave the weights alone, so that the weights stay those before the bad
    iteration.

    Args:
        check_gradients: whether a non-finite gradient stops the run too; not for float16, whose loss scaling
            runs into them on purpose.
    """

    def __init__(self, device: torch.device, check_gradients: bool = True) -> None:
        self.lag = GPU_LAG if device.type == "cuda" else 0
        self.check_gradients = check_gradients
        self.gate = torch.ones((), device=device)
        self.skip_update = torch.zeros((), device=device)
        self.stop_requested = False
        self._waiting: deque[Step] = deque()

    def guard(self, loss: Tensor) -> Tensor:
        """The loss to differentiate; NaN, with NaN gradients, from the first non-finite one on."""
        self.gate = torch.where(torch.isfinite(loss.detach()), self.gate, torch.nan)
        return loss * self.gate

    def watch(self, step: Step, losses: dict[str, Tensor], grad_norm: Tensor, stop: bool) -> list[Step]:
        """Takes an iteration's losses (0-dim, means over its batches) and the norm of its gradient.

        Args:
            stop: whether this process was asked to stop; `stop_requested` tells all processes at the same
                iteration.

        Returns:
            The iterations whose values have now been read, oldest first.

        Raises:
            NonFiniteLoss: for the oldest iteration that has a non-finite value in any process.
        """
        step.names = [*losses, GRAD_NORM]
        own = torch.stack([*losses.values(), grad_norm]).detach().float()
        shared = torch.cat([own, own.new_full((1,), float(stop))])
        if comm.get_world_size() > 1:
            dist.all_reduce(shared)
            shared /= comm.get_world_size()
        if self.check_gradients:
            self.gate = torch.where(torch.isfinite(grad_norm), self.gate, torch.nan)
            self.skip_update = torch.isnan(self.gate).float()
        step.own = own.to("cpu", non_blocking=True)
        step.shared = shared.to("cpu", non_blocking=True)
        if own.is_cuda:
            step.arrived = torch.cuda.Event()
            step.arrived.record()
        self._waiting.append(step)
        return self._read(self.lag)

    def drain(self) -> list[Step]:
        """Waits for every iteration so far; otherwise as `watch`."""
        return self._read(0)

    def _read(self, leave: int) -> list[Step]:
        read = []
        while len(self._waiting) > leave:
            step = self._waiting.popleft()
            if step.arrived is not None:
                step.arrived.synchronize()
            checked = step.shared[:-1] if self.check_gradients else step.shared[:-2]
            if not bool(torch.isfinite(checked).all()):
                raise NonFiniteLoss(step)
            self.stop_requested |= bool(step.shared[-1] > 0)
            read.append(step)
        return read
