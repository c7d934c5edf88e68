"""Training hooks: what else happens in a run, such as metric writers, a progress bar, or your own callbacks.

A hook of your own, in a module that the key IMPORTS or the option --import names:

    @HOOKS.register("print_lr")
    class PrintLR(Hook):
        def __init__(self, cfg): ...

        def after_iteration(self, state, record):
            print(state.iteration, state.lr)

and `SOLVER.HOOKS "('print_lr',)"` on the command line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.metric_writers import Record
from maskrcnn_benchmark.utils.registry import Registry

HOOKS = Registry("SOLVER.HOOKS")  # each builder is called with the config and returns a Hook


@dataclass
class StopRequest:
    """Whether a hook asked for the end of training, and why."""

    reason: str = ""

    @property
    def asked(self) -> bool:
        """Whether a hook of this process asked."""
        return bool(self.reason)

    def agreed(self) -> bool:
        """Whether a hook asked in any process. Every process must call this at the same point."""
        return any(comm.all_gather(self.asked))


@dataclass(frozen=True)
class TrainState:
    """Where a run stands, as a hook sees it; every call gets a new one.

    Attributes:
        model: as `do_train` got it, wrapped where there are several processes.
        optimizer: with the gradients already cleared.
        output_dir: the folder of the run.
        max_iter: iterations of the whole run.
        iteration: iterations done, counted from the start of the whole run.
        lr: learning rate of the last iteration, of the first parameter group; 0 before the first one.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    output_dir: Path
    max_iter: int
    iteration: int
    lr: float = 0.0
    stop: StopRequest = field(default_factory=StopRequest)

    def at(self, iteration: int, lr: float) -> TrainState:
        """The state after an iteration."""
        return replace(self, iteration=iteration, lr=lr)

    def request_stop(self, reason: str) -> None:
        """Asks for the end of training: the run is then complete, with a model_final of this iteration.

        From `on_start` and `after_evaluation` it is obeyed at once, from `after_iteration` a few iterations
        later, and always by every process at the same iteration.
        """
        self.stop.reason = self.stop.reason or reason


class Hook:
    """What happens beside training; a subclass overrides the moments that it needs.

    Every process calls its hooks, in the order in which they were given; use `comm.is_main_process()` where
    one should act. An exception from a hook ends the run.
    """

    def on_start(self, state: TrainState) -> None:
        """Before the first iteration of a new or resumed run."""

    def after_iteration(self, state: TrainState, record: Record | None) -> None:
        """After each update of the weights.

        record: the numbers of the log line where this iteration wrote one (every SOLVER.LOG_PERIOD
        iterations): losses, learning rate, speed, memory; None otherwise.
        """

    def after_evaluation(self, state: TrainState, results: Mapping[str, float]) -> None:
        """After an evaluation.

        results: numbers by name, such as shapes_val/bbox/AP; empty in all but the main process.
        """

    def on_end(self, state: TrainState) -> None:
        """After the last iteration, or a stop by a signal or a hook."""

    def on_error(self, state: TrainState, error: BaseException) -> None:
        """An exception ends the run; it is raised again after this."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this hook: tensors and plain values.

        A checkpoint is written after an iteration and before its evaluation. The main process's is kept.
        """
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from `state_dict`, in every process, before `on_start`."""


class Hooks(Hook):
    """Several hooks as one, called in their order."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self.hooks = tuple(hooks)
        self.state: TrainState | None = None  # the latest

    @contextmanager
    def running(self, state: TrainState) -> Iterator[None]:
        """`on_start`, the block, and `on_end`, or `on_error` where an exception leaves the block."""
        try:
            self.on_start(state)
            yield
        except BaseException as error:
            self.on_error(self.state or state, error)
            raise
        self.on_end(self.state or state)

    def on_start(self, state: TrainState) -> None:
        self.state = state
        for hook in self.hooks:
            hook.on_start(state)

    def after_iteration(self, state: TrainState, record: Record | None) -> None:
        self.state = state
        for hook in self.hooks:
            hook.after_iteration(state, record)

    def after_evaluation(self, state: TrainState, results: Mapping[str, float]) -> None:
        for hook in self.hooks:
            hook.after_evaluation(state, results)

    def on_end(self, state: TrainState) -> None:
        for hook in self.hooks:
            hook.on_end(state)

    def on_error(self, state: TrainState, error: BaseException) -> None:
        for hook in self.hooks:
            hook.on_error(state, error)

    def state_dict(self) -> dict[str, Any]:
        """The non-empty states; see `_named`."""
        states = {name: hook.state_dict() for name, hook in self._named()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for name, hook in self._named():
            if name in state_dict:
                hook.load_state_dict(state_dict[name])

    def _named(self) -> Iterator[tuple[str, Hook]]:
        """Each hook under its class's name; the second of a class under "name 2", and so on.

        So hooks of other classes may come and go between the starts of a run.
        """
        seen: Counter[str] = Counter()
        for hook in self.hooks:
            name = type(hook).__name__
            seen[name] += 1
            yield (name if seen[name] == 1 else f"{name} {seen[name]}"), hook
