"""Inference: milliseconds of an image as in the published tables, where they go, and images per second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from maskrcnn_benchmark.benchmark.measure.images import Images
from maskrcnn_benchmark.benchmark.measure.stages import StageMeter, watched
from maskrcnn_benchmark.benchmark.measure.subject import Counts, Subject
from maskrcnn_benchmark.benchmark.row import STAGES, BatchThroughput, InferenceTimes, Load, StageTimes
from maskrcnn_benchmark.engine.inference_time import p90_of, wait_for
from maskrcnn_benchmark.utils import comm

WARM_UP_IMAGES = {"cpu": 1, "cuda": 3}
SPLIT_IMAGES = 20  # at most: the split needs fewer than the headline
TIMED_BATCHES = 2


@torch.no_grad()
def measure_times(subject: Subject, images: Images, num_images: int) -> InferenceTimes:
    """Milliseconds of every image, one at a time: copy to the device and model up to final detections."""
    subject.model.eval()
    for index in range(WARM_UP_IMAGES[subject.device.type]):
        subject.detect(subject.to_device(subject.collate([images.test_image(index)])))
    times = [_time_image(subject, images, index) for index in range(num_images)]
    return InferenceTimes(statistics.median(times), p90_of(times), num_images, tuple(times), None)


def _time_image(subject: Subject, images: Images, index: int) -> float:
    batch = subject.collate([images.test_image(index)])
    wait_for(subject.device)
    start = time.perf_counter()
    subject.detect(subject.to_device(batch))
    wait_for(subject.device)
    return 1000 * (time.perf_counter() - start)


@torch.no_grad()
def measure_split(
    subject: Subject, images: Images, num_images: int, has_masks: bool, how: str
) -> tuple[StageTimes, Load]:
    """Median milliseconds of each stage, waiting for the device before and after each; and the load.

    Args:
        how: where the load comes from, for `Load`.
    """
    subject.model.eval()
    calls = subject.stage_calls()
    passes: list[dict[str, float]] = []
    counts: list[Counts] = []
    for index in range(num_images):
        sample = images.test_image(index)
        batch = subject.collate([sample])
        meter = StageMeter(_clock(subject.device))
        with subject.counting(counts), watched(calls, meter), meter.run():
            with meter.stage("to_device"):
                on_device = subject.to_device(batch)
            detections = subject.detect(on_device)
        if has_masks:
            with meter.run(), meter.stage("mask_pasting"):
                subject.paste(detections, [sample])
        passes.append(meter.totals)
    medians = {stage: 1000 * statistics.median(each[stage] for each in passes) for stage in STAGES}
    if has_masks:
        split = StageTimes(**medians)
    else:
        split = StageTimes(**{**medians, "mask_head": None, "mask_pasting": None})  # type: ignore[arg-type]
    means = torch.stack([torch.stack(count) for count in counts]).float().mean(dim=0).tolist()
    return split, Load(means[0], means[1], how)


@torch.no_grad()
def measure_throughput(subject: Subject, images: Images, batch_size: int) -> BatchThroughput:
    """Images per second in batches of different images, copy included, summed over all processes."""
    subject.model.eval()
    batches = [
        subject.collate([images.test_image(number * batch_size + place) for place in range(batch_size)])
        for number in range(TIMED_BATCHES)
    ]
    subject.detect(subject.to_device(batches[0]))
    comm.synchronize()
    wait_for(subject.device)
    start = time.perf_counter()
    for batch in batches:
        subject.detect(subject.to_device(batch))
    wait_for(subject.device)
    images_per_second = TIMED_BATCHES * batch_size / (time.perf_counter() - start)
    return BatchThroughput(batch_size, sum(comm.all_gather(images_per_second)))


def _clock(device: torch.device) -> Callable[[], float]:
    def now() -> float:
        wait_for(device)
        return time.perf_counter()

    return now
