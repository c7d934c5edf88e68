"""The learning-rate schedule of the family: warm-up, then a drop at each milestone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

WARMUP_METHODS = ("linear", "constant")


class WarmupMultiStepLR:
    """Sets each group's rate to `initial rate * warmup(k) * gamma ** (milestones passed at k)`.

    `step()` is called at the start of iteration k = 1, 2, ..., so that iteration k runs at f(k); f(0), the
    rate after construction, trains nothing. That is the family's loop, and why this is not a subclass of
    torch's scheduler, which warns when it steps before the optimizer does. Warm-up: Goyal et al. 2017,
    section 2.2.

    Args:
        milestones: iterations at which the rate is multiplied by `gamma`, ascending.
        warmup_factor: factor at iteration 0.
        warmup_iters: iterations over which the factor rises to 1 (linear), or at which it jumps to 1
            (constant).
        last_epoch: iterations already done; -1 for a new run.

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
        if warmup_method not in WARMUP_METHODS:
            raise ValueError(
                f"warmup_method {warmup_method!r} is not one of {WARMUP_METHODS} (SOLVER.WARMUP_METHOD)"
            )
        self.optimizer = optimizer
        self.milestones = tuple(milestones)
        self.gamma = gamma
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def get_lr(self) -> list[float]:
        """The rate of each parameter group at iteration `last_epoch`."""
        # the order of the products is the family's: the rates agree to the last bit
        drop = self.gamma ** bisect_right(self.milestones, self.last_epoch)
        warmup = self._warmup()
        return [base_lr * warmup * drop for base_lr in self.base_lrs]

    def step(self) -> None:
        """Moves to the next iteration and sets its rates."""
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
