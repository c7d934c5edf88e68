"""The training loop."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from maskrcnn_benchmark.engine.best import evaluation_at
from maskrcnn_benchmark.engine.builtin_hooks import BestCheckpoint, ProgressBar
from maskrcnn_benchmark.engine.checkpointing import RunCheckpointer
from maskrcnn_benchmark.engine.hooks import Hook, Hooks, TrainState
from maskrcnn_benchmark.engine.loss_monitor import Batch
from maskrcnn_benchmark.engine.replay import explained
from maskrcnn_benchmark.engine.run_state import restore_run, save_run
from maskrcnn_benchmark.engine.train_log import TrainLog
from maskrcnn_benchmark.engine.train_options import TrainOptions
from maskrcnn_benchmark.engine.weight_update import WeightUpdate
from maskrcnn_benchmark.solver import WarmupLR
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.data_fault import DataFault, reason_of
from maskrcnn_benchmark.utils.device import reset_peak_memory
from maskrcnn_benchmark.utils.random_state import random_state_kept
from maskrcnn_benchmark.utils.stop_signals import StopSignals

logger = logging.getLogger("maskrcnn_benchmark.trainer")


@dataclass(frozen=True)
class TrainResult:
    """How training ended.

    Attributes:
        iteration: the last one.
        stopped_by: number of the signal that stopped the run before its end; 0 where it is complete.
        stopped_early: why a hook ended the run, which is then complete; "" where it went its whole length.
    """

    iteration: int
    stopped_by: int = 0
    stopped_early: str = ""


def do_train(
    model: nn.Module,
    data_loader: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    scheduler: WarmupLR,
    checkpointer: RunCheckpointer,
    device: torch.device | str,
    checkpoint_period: int,
    arguments: dict[str, Any],
    options: TrainOptions | None = None,
    evaluate: Callable[[bool], Mapping[str, float]] | None = None,
    hooks: Sequence[Hook] = (),
) -> TrainResult:
    """Trains `model` up to iteration `options.max_iter`; without options, as far as the loader is long.

    Args:
        model: gives a dictionary of 0-dim losses for (images, targets); may be wrapped for distributed
            training.
        data_loader: gives (images, targets, indices) from where the run stands; its attribute `dataset`, if
            it has one, names the images in messages.
        checkpointer: writes model_<iteration>.pth every `checkpoint_period` iterations, model_final.pth after
            the last one and model_best.pth after the best evaluation (`options.deciding`); the last two also
            as .safetensors to publish.
        arguments: "iteration" (done so far, 0 for a new run), and what `Checkpointer.resume` returned;
            updated.
        evaluate: called in every process with whether it is the last time; gives results by name, such as
            shapes_val/bbox/AP, in the main one.
        hooks: what else happens, in this order; see `engine.hooks`.

    Raises:
        NonFiniteLossError: a loss or gradient is not finite; its update was not applied.
        DataFault: an image cannot be used; a run of one process is saved first.
    """
    device = torch.device(device)
    options = options or TrainOptions(max_iter=len(data_loader))  # type: ignore[arg-type]
    start = int(arguments.setdefault("iteration", 0))
    batches = iter(data_loader)  # draws from the random generators, before they are restored
    log = TrainLog(start, options.max_iter, options.log_period, device)
    update = WeightUpdate(model, batches, optimizer, device, options, log)
    best = () if options.deciding is None else (BestCheckpoint(checkpointer, options.deciding),)
    every = Hooks((ProgressBar(), *hooks, *best))
    restore_run(arguments, update.scaler, every, device)
    folder, dataset = Path(checkpointer.save_dir), getattr(data_loader, "dataset", None)
    state = TrainState(model, optimizer, folder, options.max_iter, start)

    def save() -> str:
        """Writes a checkpoint of the iterations done."""
        with explained(folder, model, dataset):
            update.finish()
        name = f"model_{arguments['iteration']:07d}"
        save_run(checkpointer, name, arguments, update.scaler, every, device)
        return name

    model.train()
    logger.info("Training from iteration %d to %d", start, options.max_iter)
    with StopSignals() as signals, every.running(state):
        end = start if state.stop.agreed() else options.max_iter
        for iteration in range(start + 1, end + 1):
            is_last = iteration == end
            try:
                update.take_batches(iteration)
            except DataFault as fault:
                raise at_fault(f"iteration {iteration}", fault, state.iteration > start and save) from fault
            scheduler.step()
            with explained(folder, model, dataset):
                update(iteration, stop=signals.received > 0 or state.stop.asked)
                stopping = update.stop_agreed(signals.received > 0 or state.stop.asked)
                log_due = is_last or stopping or iteration % options.log_period == 0
                save_due = is_last or stopping or iteration % checkpoint_period == 0
                evaluate_due = evaluate is not None and is_due(iteration, options.eval_period, is_last)
                if log_due or save_due or evaluate_due:
                    update.finish()
            state = state.at(iteration, update.lr)
            every.after_iteration(state, log.close_window(iteration, update.lr) if log_due else None)
            with log.paused():
                arguments["iteration"] = iteration
                if save_due:
                    name = "model_final" if is_last else f"model_{iteration:07d}"
                    save_run(checkpointer, name, arguments, update.scaler, every, device)
                if is_last:
                    checkpointer.publish("model_final", iteration)
                if stopping:
                    break
                if evaluate is not None and evaluate_due:
                    try:
                        with random_state_kept(device):
                            results = evaluate(is_last)
                    except DataFault as fault:
                        raise at_fault(f"evaluation after iteration {iteration}", fault, save) from fault
                    every.after_evaluation(state, results)
                    if is_last:
                        checkpointer.publish("model_final", iteration, results)
                    model.train()
                    reset_peak_memory(device)
                    if state.stop.agreed():
                        break
        result = how_it_ended(state, signals.received)
        if result.stopped_early:
            save_run(checkpointer, "model_final", arguments, update.scaler, every, device)
            checkpointer.publish("model_final", state.iteration, evaluation_at(folder, state.iteration))
    return result


def at_fault(when: str, fault: DataFault, save: Callable[[], str] | Literal[False]) -> DataFault:
    """The fault with when it was met, after a checkpoint of what was done before, if anything was.

    A run of several processes writes none: the others do not know of the fault and wait in their iteration.
    """
    text = f"{when}: {reason_of(fault)}"
    if not save or comm.get_world_size() > 1:
        return DataFault(text)
    return DataFault(
        f"{text}\nWhat was done is saved as {save()}.pth: mend the data, then --resume continues"
    )


def how_it_ended(state: TrainState, signal_received: int) -> TrainResult:
    """Complete, stopped by a signal in any process, or ended by a hook; said in the log."""
    iteration = state.iteration
    if iteration >= state.max_iter:
        return TrainResult(iteration)
    if any(comm.all_gather(signal_received > 0)):
        stopped_by = signal.Signals(signal_received or signal.SIGTERM)
        logger.warning("Stopped by %s after iteration %d", stopped_by.name, iteration)
        return TrainResult(iteration, stopped_by=int(stopped_by))
    reason = next(filter(None, comm.all_gather(state.stop.reason)))
    logger.info("Stopped early after iteration %d: %s", iteration, reason)
    return TrainResult(iteration, stopped_early=reason)


def is_due(iteration: int, period: int, is_last: bool) -> bool:
    """Whether what happens every `period` iterations (0: never), and after the last one, happens now."""
    return is_last or (period > 0 and iteration % period == 0)
