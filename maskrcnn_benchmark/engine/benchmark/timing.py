"""Inference time: the published protocol's sum, and where it goes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from maskrcnn_benchmark.engine.benchmark.load import Images
from maskrcnn_benchmark.engine.benchmark.measures import STAGES, InferenceTimes, Load, StageTimes
from maskrcnn_benchmark.engine.benchmark.stages import StageMeter, watched
from maskrcnn_benchmark.engine.benchmark.subject import Counts, Subject
from maskrcnn_benchmark.engine.inference_time import p90_of, wait_for

WARM_UP_IMAGES = 3


@torch.no_grad()
def measure_times(subject: Subject, images: Images, num_images: int) -> InferenceTimes:
    """Milliseconds of every image, one at a time: copy to the device and model to final detections."""
    subject.model.eval()
    for index in range(WARM_UP_IMAGES):
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
def measure_split(subject: Subject, images: Images, num_images: int, has_masks: bool) -> StageTimes:
    """Median milliseconds of each stage; the device is waited for before and after each."""
    subject.model.eval()
    calls = subject.stage_calls()
    passes: list[dict[str, float]] = []
    for index in range(num_images):
        sample = images.test_image(index)
        batch = subject.collate([sample])
        meter = StageMeter(_clock(subject.device))
        with watched(calls, meter), meter.run():
            with meter.stage("to_device"):
                on_device = subject.to_device(batch)
            answers = subject.detect(on_device)
        if has_masks:
            with meter.run(), meter.stage("mask_pasting"):
                subject.paste(answers, [sample])
        passes.append(meter.totals)
    medians = {stage: 1000 * statistics.median(each[stage] for each in passes) for stage in STAGES}
    if not has_masks:
        return StageTimes(**{**medians, "mask_head": None, "mask_pasting": None})  # type: ignore[arg-type]
    return StageTimes(**medians)


def _clock(device: torch.device) -> Callable[[], float]:
    def now() -> float:
        wait_for(device)
        return time.perf_counter()

    return now


@torch.no_grad()
def count_load(subject: Subject, images: Images, num_images: int, how: str) -> Load:
    """Mean proposals and detections of an image."""
    subject.model.eval()
    counts: list[Counts] = []
    with subject.counting(counts):
        for index in range(num_images):
            subject.detect(subject.to_device(subject.collate([images.test_image(index)])))
    proposals = sum(count.proposals for count in counts) / num_images
    return Load(proposals, sum(count.detections for count in counts) / num_images, how)


def with_split(times: InferenceTimes, split: StageTimes) -> InferenceTimes:
    """The times with their split."""
    return replace(times, split=split)
