"""Images per second of inference at larger batches."""

from __future__ import annotations

import time

import torch

from maskrcnn_benchmark.benchmark.measure.images import Images
from maskrcnn_benchmark.benchmark.measure.subject import Subject
from maskrcnn_benchmark.benchmark.row import BatchThroughput
from maskrcnn_benchmark.engine.inference_time import wait_for
from maskrcnn_benchmark.utils import comm

TIMED_BATCHES = 2


@torch.no_grad()
def measure_throughput(subject: Subject, images: Images, batch_size: int) -> BatchThroughput:
    """Batches of different images, copy to the device included; the sum over all processes."""
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
    seconds = time.perf_counter() - start
    rate = TIMED_BATCHES * batch_size / seconds
    return BatchThroughput(batch_size, sum(comm.all_gather(rate)))
