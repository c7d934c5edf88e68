"""Learning-rate schedules: a warm-up, then drops at milestones (the family's), or a smooth fall."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer

logger = logging.getLogger("maskrcnn_benchmark.solver")

WARMUP_METHODS = ("linear", "constant")


class WarmupLR(ABC):
    """Sets each group's learning rate to `initial rate * warmup(k) * decay(k)`.

    `step()` is called at the start of iteration k = 1, 2, ..., so that iteration k runs at f(k); f(0), the
    learning rate after construction, trains nothing. That is the family's loop, and why this is not a
    subclass of torch's scheduler, which warns when it steps before the optimizer does. Warm-up: Goyal et
    al. 2017, section 2.2.

    Args:
        warmup_factor: factor at iteration 0.
        warmup_iters: iterations over which the factor rises to 1 (linear), or at which it jumps to 1
            (constant).
        last_epoch: iterations already done; -1 for a new run.

    Raises:
        ValueError: an unknown warm-up method.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_factor: float = 1.0 / 3,
        warmup_iters: int = 500,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        if warmup_method not in WARMUP_METHODS:
            raise ValueError(
                f"warmup_method {warmup_method!r} is not one of {WARMUP_METHODS} (SOLVER.WARMUP_METHOD)"
            )
        self.optimizer = optimizer
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    @abstractmethod
    def decay(self) -> float:
        """The factor of the learning rate at iteration `last_epoch`, beside the warm-up's."""

    def get_lr(self) -> list[float]:
        """The learning rate of each parameter group at iteration `last_epoch`."""
        # the order of the products is the family's: the learning rates agree to the last bit
        decay = self.decay()
        warmup = self._warmup()
        return [base_lr * warmup * decay for base_lr in self.base_lrs]

    def step(self) -> None:
        """Moves to the next iteration and sets its learning rates."""
        self.last_epoch += 1
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: the iteration alone. The schedule itself is the config's to say."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues after iteration `state["last_epoch"]`."""
        self.last_epoch = int(state["last_epoch"])
        self._apply()

    def _warmup(self) -> float:
        if self.last_epoch >= self.warmup_iters:
            return 1
        if self.warmup_method == "constant":
            return self.warmup_factor
        alpha = self.last_epoch / self.warmup_iters
        return self.warmup_factor * (1 - alpha) + alpha

    def _apply(self) -> None:
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr


class WarmupMultiStepLR(WarmupLR):
    """After the warm-up (see WarmupLR), the learning rate is multiplied by `gamma` at each milestone.

    Args:
        milestones: iterations, ascending.

    Raises:
        ValueError: milestones that descend, or an unknown warm-up method.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        warmup_factor: float = 1.0 / 3,
        warmup_iters: int = 500,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        if list(milestones) != sorted(milestones):
            raise ValueError(f"milestones {tuple(milestones)} must ascend (SOLVER.STEPS)")
        self.milestones = tuple(milestones)
        self.gamma = gamma
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def decay(self) -> float:
        """gamma ** (milestones passed)."""
        return self.gamma ** bisect_right(self.milestones, self.last_epoch)


class WarmupCurveLR(WarmupLR):
    """After the warm-up (see WarmupLR), the learning rate falls to `end_factor` of itself along a curve.

    Iteration k of `max_iter` runs at progress (k - 1) / max_iter, the part of the run that is done; the
    warm-up is a factor on top. A run resumed with another `max_iter` continues on the new curve.

    Args:
        curve: falls from 1 at progress 0 to 0 at progress 1.
        max_iter: iterations of the whole run.
        end_factor: where the learning rate ends, as a fraction of where it began.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        curve: Callable[[float], float],
        max_iter: int,
        end_factor: float = 0.0,
        warmup_factor: float = 1.0 / 3,
        warmup_iters: int = 500,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        self.curve = curve
        self.max_iter = max_iter
        self.end_factor = end_factor
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def decay(self) -> float:
        """The curve between 1 and `end_factor`."""
        progress = min(max(self.last_epoch - 1, 0) / self.max_iter, 1.0)
        return self.end_factor + (1 - self.end_factor) * self.curve(progress)

    def state_dict(self) -> dict[str, Any]:
        """The iteration, and of how many."""
        return super().state_dict() | {"max_iter": self.max_iter}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues after iteration `state["last_epoch"]`."""
        if state.get("max_iter", self.max_iter) != self.max_iter:
            logger.warning(
                "SOLVER.MAX_ITER was %d and is %d now: the learning rate follows the new curve from here",
                state["max_iter"],
                self.max_iter,
            )
        super().load_state_dict(state)


def polynomial(power: float) -> Callable[[float], float]:
    """(1 - progress) ** power (Chen et al. 2017, DeepLab, section 4.1)."""
    return lambda progress: (1 - progress) ** power


def half_cosine(progress: float) -> float:
    """From 1 to 0 along half a cosine (Loshchilov and Hutter 2017, SGDR, eq. 5, without restarts)."""
    return (1 + math.cos(math.pi * progress)) / 2
