"""Measures one row in the process of its job; every number goes into the journal as soon as it is known."""

from __future__ import annotations

from dataclasses import replace

import torch

from maskrcnn_benchmark.benchmark.measure.accuracy import measure_ap
from maskrcnn_benchmark.benchmark.measure.inference import (
    SPLIT_IMAGES,
    measure_split,
    measure_throughput,
    measure_times,
)
from maskrcnn_benchmark.benchmark.measure.macs import count_macs
from maskrcnn_benchmark.benchmark.measure.memory import peak_training_memory
from maskrcnn_benchmark.benchmark.measure.training import TrainingRun, training_throughput
from maskrcnn_benchmark.benchmark.row import MASK, BatchThroughput
from maskrcnn_benchmark.benchmark.run.job import INFERENCE, PREPARATION, TRAINING, Job, Journal
from maskrcnn_benchmark.benchmark.run.ready_row import ReadyRow, make_ready_row
from maskrcnn_benchmark.utils import comm

TRAINING_STEPS, BREAKDOWN = "the training steps", "the memory's breakdown"
TENSORS = "the step whose tensors are counted"
TRAINING_ENDS = (TRAINING_STEPS, TENSORS, BREAKDOWN)  # a process that ends here leaves inference to another


def measure_row(job: Job, journal: Journal, device: torch.device, idle_mib: float) -> None:
    """Measures the job's parts. `idle_mib`: the resident set before anything was built."""
    torch.manual_seed(job.settings.seed)
    with journal.during(PREPARATION):
        ready = make_ready_row(job, device)
        journal.add("computed_in", str(ready.subject.precision))
        how = ready.load_weights()
    if TRAINING in job.parts:
        _measure_training(job, journal, ready, idle_mib)
    if INFERENCE in job.parts:
        _measure_inference(job, journal, ready, how)


def _measure_training(job: Job, journal: Journal, ready: ReadyRow, idle_mib: float) -> None:
    """Measures memory, throughput and, if asked for, what is kept for backward."""
    settings = job.settings
    run = TrainingRun(ready.subject, ready.optimizer(), ready.images, settings.images_per_process)
    run.distribute()
    with journal.during(TRAINING_STEPS):
        run.warm_up()
        seconds = run.run(settings.steps)
        memory = peak_training_memory(ready.subject.device, idle_mib, settings.steps)
        journal.add("training_memory", memory)
        journal.add("training_throughput", training_throughput(seconds, settings.images_per_process))
    if ready.subject.device.type == "cpu":  # a GPU's allocator has said it already
        with journal.during(TENSORS):
            memory = replace(memory, peak_tensors_mib=run.peak_tensors_mib())
            journal.add("training_memory", memory)
    if settings.memory_breakdown:
        with journal.during(BREAKDOWN):
            journal.add("training_memory", replace(memory, breakdown=tuple(run.breakdown())))
    run.close()


def _measure_inference(job: Job, journal: Journal, ready: ReadyRow, how: str) -> None:
    """Measures parameters, times, split, load, MACs, throughput and, with dataset and weights, AP."""
    if comm.is_main_process():
        _measure_alone(job, journal, ready, how)
    comm.synchronize()
    _measure_throughput(job, journal, ready)
    if ready.scoring is not None and ready.weights is not None:
        with journal.during("the evaluation"):
            device = ready.subject.device
            journal.add("ap", measure_ap(ready.subject.model, ready.scoring, ready.weights, device))


def _measure_alone(job: Job, journal: Journal, ready: ReadyRow, how: str) -> None:
    """Measures what one process measures while the others wait."""
    subject, images = ready.subject, ready.images
    journal.add("parameters", sum(parameter.numel() for parameter in subject.model.parameters()))
    with journal.during("the timing"):
        times = measure_times(subject, images, job.settings.images)
        journal.add("inference", times)
    with journal.during("the split"):
        num_images = min(job.settings.images, SPLIT_IMAGES)
        split, load = measure_split(subject, images, num_images, job.detector == MASK, how)
        journal.add("inference", replace(times, split=split))
        journal.add("load", load)
    with journal.during("the count of MACs"):
        journal.add("macs", count_macs(subject, images))


def _measure_throughput(job: Job, journal: Journal, ready: ReadyRow) -> None:
    """Measures larger batches, the smallest first; one that does not fit ends nothing."""
    measured: list[BatchThroughput] = []
    for batch_size in sorted(job.settings.batch_sizes):
        with journal.during(f"the throughput at batch {batch_size}"):
            try:
                measured.append(measure_throughput(ready.subject, ready.images, batch_size))
            except torch.OutOfMemoryError:
                if comm.get_world_size() > 1:  # the others wait for this one
                    raise
                measured.append(BatchThroughput(batch_size, None))
                torch.cuda.empty_cache()
            journal.add("throughput", measured)
