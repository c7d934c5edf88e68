"""The training loop."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from maskrcnn_benchmark.engine.best import best_evaluation, quality
from maskrcnn_benchmark.engine.checkpointing import RunCheckpointer
from maskrcnn_benchmark.engine.loss_monitor import Batch, LossMonitor, NonFiniteLoss, Step
from maskrcnn_benchmark.engine.replay import NonFiniteLossError, explain, save_replay
from maskrcnn_benchmark.engine.run_state import check_loss_scale, restore_run, save_run
from maskrcnn_benchmark.engine.train_log import TrainLog
from maskrcnn_benchmark.engine.train_options import TrainOptions
from maskrcnn_benchmark.solver import WarmupLR
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.device import reset_peak_memory
from maskrcnn_benchmark.utils.metric_writers import MetricWriter
from maskrcnn_benchmark.utils.progress import Progress
from maskrcnn_benchmark.utils.random_state import random_state, random_state_kept
from maskrcnn_benchmark.utils.stop_signals import StopSignals

logger = logging.getLogger("maskrcnn_benchmark.trainer")


@dataclass(frozen=True)
class TrainResult:
    """How training ended: after which iteration, and by which signal (0: it is complete)."""

    iteration: int
    stopped_by: int = 0


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
    writers: Sequence[MetricWriter] = (),
) -> TrainResult:
    """Trains `model` up to iteration `options.max_iter`; without options, as far as the loader is long.

    Args:
        model: gives a dictionary of 0-dim losses for (images, targets); may be wrapped for distributed
            training.
        data_loader: gives (images, targets, indices) from where the run stands; its attribute `dataset`, if
            it has one, names the images in messages.
        checkpointer: writes model_<iteration>.pth every `checkpoint_period` iterations, model_final.pth after
            the last one and model_best.pth after the evaluation with the best mask AP (without masks: box
            AP); the last two also as .safetensors to publish.
        arguments: "iteration" (done so far, 0 for a new run), and what `Checkpointer.resume` returned;
            updated.
        evaluate: called in every process with whether it is the last time; gives results by name (`<data
            set>/bbox/AP`) in the main one.
        writers: take the records of the log lines and evaluations; given in the main process.

    Raises:
        NonFiniteLossError: a loss or gradient is not finite; its update was not applied.
    """
    device = torch.device(device)
    options = options or TrainOptions(max_iter=len(data_loader))  # type: ignore[arg-type]
    start = int(arguments.setdefault("iteration", 0))
    batches = iter(data_loader)
    scaler = torch.amp.GradScaler(device.type, enabled=options.dtype == torch.float16)
    restore_run(arguments, scaler, device)  # after iter(), which draws from the random generators
    monitor = LossMonitor(device, check_gradients=not scaler.is_enabled())
    log = TrainLog(start, options.max_iter, options.log_period, device)
    best = best_evaluation(checkpointer.save_dir) if start else -float("inf")
    iteration = start
    model.train()
    logger.info("Training from iteration %d to %d", start, options.max_iter)
    with StopSignals() as signals, Progress(start, options.max_iter) as progress:
        for iteration in range(start + 1, options.max_iter + 1):
            is_last = iteration == options.max_iter
            scheduler.step()
            step = Step(iteration, float(optimizer.param_groups[0]["lr"]), random_state(device))
            try:
                losses = backward(model, batches, step, monitor, scaler, device, options, log)
                scaler.unscale_(optimizer)
                grad_norm = clip_gradients(optimizer, options.clip_grad_norm)
                log.add_values(monitor.watch(step, losses, grad_norm, stop=signals.received > 0))
                if optimizer.defaults.get("fused") and not scaler.is_enabled():
                    optimizer.found_inf = monitor.skip_update  # type: ignore[attr-defined]
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
                stopping = monitor.stop_requested if comm.get_world_size() > 1 else signals.received > 0
                log_due = is_last or stopping or iteration % options.log_period == 0
                save_due = is_last or stopping or iteration % checkpoint_period == 0
                evaluate_due = evaluate is not None and is_due(iteration, options.eval_period, is_last)
                if log_due or save_due or evaluate_due:
                    log.add_values(monitor.drain())
                    check_loss_scale(scaler)
            except NonFiniteLoss as found:
                file = save_replay(checkpointer.save_dir, found.step, model)
                message = explain(found.step, getattr(data_loader, "dataset", None))
                raise NonFiniteLossError(message, file) from None
            progress.update()
            if log_due:
                line, record = log.close_window(iteration, step.lr)
                logger.info(line)
                write_record(writers, record)
            pause = time.perf_counter()
            arguments["iteration"] = iteration
            if save_due:
                name = "model_final" if is_last else f"model_{iteration:07d}"
                save_run(checkpointer, name, arguments, scaler, device)
            if is_last:
                checkpointer.publish("model_final", iteration)
            if stopping:
                break
            if evaluate is not None and evaluate_due:
                with random_state_kept(device):
                    results = evaluate(is_last)
                write_record(writers, {"kind": "evaluation", "iteration": iteration, **results})
                if quality(results) > best:
                    best = quality(results)
                    checkpointer.save_weights("model_best", iteration, results)
                if is_last:
                    checkpointer.publish("model_final", iteration, results)
                model.train()
                reset_peak_memory(device)
            log.leave_out(time.perf_counter() - pause)
        stopped_by = (signals.received or signal.SIGTERM) if iteration < options.max_iter else 0
    if stopped_by:
        logger.warning("Stopped by %s after iteration %d", signal.Signals(stopped_by).name, iteration)
    return TrainResult(iteration, int(stopped_by))


def backward(
    model: nn.Module,
    batches: Iterator[Batch],
    step: Step,
    monitor: LossMonitor,
    scaler: torch.amp.GradScaler,
    device: torch.device,
    options: TrainOptions,
    log: TrainLog,
) -> dict[str, Tensor]:
    """Forward and backward over the batches of one optimizer step; the gradient is that of their mean.

    Returns:
        The mean of each loss over the batches, 0-dim on the device.
    """
    means: dict[str, Tensor] = {}
    for index in range(options.accumulation_steps):
        began = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            raise RuntimeError(f"the data loader ended in iteration {step.iteration} of {options.max_iter}")
        images, targets, indices = batch
        log.add_batch(len(indices), time.perf_counter() - began)
        step.batches.append(batch)
        with ExitStack() as stack:
            if index + 1 < options.accumulation_steps:
                stack.enter_context(without_exchange(model))
            with torch.autocast(device.type, dtype=options.dtype, enabled=options.dtype != torch.float32):
                losses = model(images.to(device, non_blocking=True), targets)
            total = torch.stack(list(losses.values())).sum() / options.accumulation_steps
            scaler.scale(monitor.guard(total)).backward()
        for name, loss in losses.items():
            mean = loss.detach() / options.accumulation_steps
            means[name] = means[name] + mean if name in means else mean
    return means


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


def is_due(iteration: int, period: int, is_last: bool) -> bool:
    """Whether what happens every `period` iterations (0: never), and after the last one, happens now."""
    return is_last or (period > 0 and iteration % period == 0)


def write_record(writers: Sequence[MetricWriter], record: Mapping[str, float | int | str]) -> None:
    """Hands a record to every writer."""
    for writer in writers:
        writer.write(record)
