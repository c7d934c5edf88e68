"""Seconds per image, measured as the published tables are: one image at a time, on one device.

Counted are the copy to the device and the model up to its final detections, the device waited for; not
counted are loading, and pasting masks into the image, which is listed beside it.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from maskrcnn_benchmark.data.datasets.evaluation import predictions_of_index
from maskrcnn_benchmark.engine.inference import evaluation_mode
from maskrcnn_benchmark.engine.precision import FLOAT32, Precision, running_in
from maskrcnn_benchmark.utils.comm import unwrap_model


class InferenceTime(NamedTuple):
    """Seconds per image: median and 90th percentile over `num_images` timed ones; pasting_median is None
    where no masks were asked for."""

    median: float
    p90: float
    pasting_median: float | None
    num_images: int


@torch.no_grad()
def measure_inference_time(
    model: nn.Module,
    data_loader: DataLoader[Any],
    device: torch.device | str,
    precision: Precision = FLOAT32,
    with_masks: bool = False,
    num_images: int = 100,
    num_warmup: int = 3,
    max_seconds: float = 30.0,
) -> InferenceTime | None:
    """Time the model on the first images of the loader's data set, in batches of one.

    Args:
        num_images: at most so many; fewer when the data set is smaller or `max_seconds` are over.
        num_warmup: runs on the first image that do not count (memory pools, kernel selection).

    Returns:
        None for an empty data set.
    """
    dataset: Any = data_loader.dataset
    device = torch.device(device)
    model_times: list[float] = []
    pasting_times: list[float] = []
    if len(dataset) == 0:
        return None
    with evaluation_mode(unwrap_model(model)) as running, running_in(running, precision, device):
        for _ in range(num_warmup):
            _time_image(running, data_loader, 0, device, with_masks)
        start = time.perf_counter()
        for index in range(min(num_images, len(dataset))):
            if index > 0 and time.perf_counter() - start > max_seconds:
                break
            model_seconds, pasting_seconds = _time_image(running, data_loader, index, device, with_masks)
            model_times.append(model_seconds)
            pasting_times.append(pasting_seconds)
    pasting_median = statistics.median(pasting_times) if with_masks else None
    median = statistics.median(model_times)
    return InferenceTime(median, p90_of(model_times), pasting_median, len(model_times))


def _time_image(
    model: nn.Module, data_loader: DataLoader[Any], index: int, device: torch.device, with_masks: bool
) -> tuple[float, float]:
    """Seconds of the model and of the way from its answer to COCO's form, mostly pasting masks."""
    dataset: Any = data_loader.dataset
    # The loader's own collating, so that padding and memory layout are those of a test.
    images = data_loader.collate_fn([dataset[index]])[0]
    wait_for(device)
    start = time.perf_counter()
    answers = model(images.to(device))
    wait_for(device)
    model_seconds = time.perf_counter() - start
    answer = answers[0].to("cpu")
    start = time.perf_counter()
    predictions_of_index(dataset, index, answer, with_masks)
    return model_seconds, time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def p90_of(values: list[float]) -> float:
    """The smallest value that at least nine tenths do not exceed."""
    return sorted(values)[math.ceil(0.9 * len(values)) - 1]
