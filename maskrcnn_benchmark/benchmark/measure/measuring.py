"""Everything that is measured of one row."""

from __future__ import annotations

import torch

from maskrcnn_benchmark.benchmark.measure.accuracy import measure_ap
from maskrcnn_benchmark.benchmark.measure.flops import count_macs
from maskrcnn_benchmark.benchmark.measure.memory import read_training_memory, with_breakdown, with_tensors
from maskrcnn_benchmark.benchmark.measure.throughput import measure_throughput
from maskrcnn_benchmark.benchmark.measure.timing import measure_split, measure_times, with_split
from maskrcnn_benchmark.benchmark.measure.training import TrainingRun, training_throughput
from maskrcnn_benchmark.benchmark.measures import MASK, OURS, BatchThroughput
from maskrcnn_benchmark.benchmark.run.job import INFERENCE, PREPARATION, TRAINING, Job, Journal
from maskrcnn_benchmark.benchmark.run.prepare import Prepared, make_peer, make_prepared
from maskrcnn_benchmark.utils import comm

SPLIT_IMAGES = 20  # at most: the split needs fewer than the headline
TRAINING_STEPS, BREAKDOWN = "the training steps", "the memory's breakdown"
TENSORS = "the step whose tensors are counted"
TRAINING_ENDS = (TRAINING_STEPS, TENSORS, BREAKDOWN)  # a process that ends here leaves inference to another


def measure(job: Job, journal: Journal, device: torch.device, idle_mib: float) -> None:
    """The job's parts. `idle_mib`: the resident set before anything was built."""
    torch.manual_seed(job.settings.seed)
    with journal.during(PREPARATION):
        ready = (make_prepared if job.implementation == OURS else make_peer)(job, device)
        journal.add("computed_in", str(ready.subject.precision))
        how = ready.settle_weights()
    if TRAINING in job.parts:
        _measure_training(job, journal, ready, idle_mib)
    if INFERENCE in job.parts:
        _measure_inference(job, journal, ready, how)


def _measure_training(job: Job, journal: Journal, ready: Prepared, idle_mib: float) -> None:
    """Memory, throughput and, on demand, what is kept for backward."""
    settings = job.settings
    run = TrainingRun(ready.subject, ready.optimizer(), ready.images, settings.images_per_process)
    run.distribute()
    with journal.during(TRAINING_STEPS):
        run.warm_up()
        seconds = run.run(settings.steps)
        memory = read_training_memory(ready.subject.device, idle_mib, settings.steps)
        journal.add("training_memory", memory)
        journal.add("training_throughput", training_throughput(seconds, settings.images_per_process))
    if ready.subject.device.type == "cpu":  # a GPU's allocator has said it already
        with journal.during(TENSORS):
            memory = with_tensors(memory, run.peak_tensors_mib())
            journal.add("training_memory", memory)
    if settings.memory_breakdown:
        with journal.during(BREAKDOWN):
            journal.add("training_memory", with_breakdown(memory, run.breakdown()))
    run.close()


def _measure_inference(job: Job, journal: Journal, ready: Prepared, how: str) -> None:
    """Parameters, times, split, load, MACs, throughput and, where it can be, AP."""
    if comm.is_main_process():
        _measure_alone(job, journal, ready, how)
    comm.synchronize()
    _measure_throughput(job, journal, ready)
    if ready.scoring is not None and ready.weights is not None:
        with journal.during("the evaluation"):
            device = ready.subject.device
            journal.add("ap", measure_ap(ready.subject.model, ready.scoring, ready.weights, device))


def _measure_alone(job: Job, journal: Journal, ready: Prepared, how: str) -> None:
    """What one process measures while the others wait."""
    subject, images = ready.subject, ready.images
    journal.add("parameters", sum(parameter.numel() for parameter in subject.model.parameters()))
    with journal.during("the timing"):
        times = measure_times(subject, images, job.settings.images)
        journal.add("inference", times)
    with journal.during("the split"):
        num_images = min(job.settings.images, SPLIT_IMAGES)
        split, load = measure_split(subject, images, num_images, job.detector == MASK, how)
        journal.add("inference", with_split(times, split))
        journal.add("load", load)
    with journal.during("the count of MACs"):
        journal.add("macs", count_macs(subject, images))


def _measure_throughput(job: Job, journal: Journal, ready: Prepared) -> None:
    """Larger batches, from the smallest."""
    rates: list[BatchThroughput] = []
    for batch_size in sorted(job.settings.batch_sizes):
        with journal.during(f"the throughput at batch {batch_size}"):
            try:
                rates.append(measure_throughput(ready.subject, ready.images, batch_size))
            except torch.OutOfMemoryError:
                if comm.get_world_size() > 1:  # the others wait for this one
                    raise
                rates.append(BatchThroughput(batch_size, None))
                torch.cuda.empty_cache()
            journal.add("throughput", rates)
