"""The peak of tensors against what is known beforehand: bytes of known tensors, and a detector's least."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from benchmark.tiny_case import tiny_cfg, tiny_detector
from torch.nn import functional

from maskrcnn_benchmark.benchmark.measure import memory
from maskrcnn_benchmark.benchmark.measure.images import Images, Sample, make_images
from maskrcnn_benchmark.benchmark.measure.memory import bytes_of, peak_bytes_of
from maskrcnn_benchmark.benchmark.measure.training import TrainingRun
from maskrcnn_benchmark.solver import make_optimizer
from maskrcnn_benchmark.utils.device import MIB


class Remembered:
    """Images that remember the batches they were asked for, and their padded sizes."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self.source = images.source
        self.sizes: dict[int, int] = {}
        self.last = -1

    def test_image(self, index: int) -> Sample:
        return self.images.test_image(index)

    def train_batch(self, step: int, num_images: int) -> list[Sample]:
        batch = self.images.train_batch(step, num_images)
        self.last, self.sizes[step] = step, padded(batch)
        return batch


def padded(batch: Sequence[Sample]) -> int:
    return max(each.image.shape[1] for each in batch) * max(each.image.shape[2] for each in batch)


def floats(count: int) -> torch.Tensor:
    return torch.empty(count, dtype=torch.float32)


def test_the_peak_is_that_counted_by_hand() -> None:
    def run() -> torch.Tensor:
        first, second = floats(1000), floats(500)
        del first
        third = floats(700)  # 1200 now, 1500 before
        fourth = floats(450)  # 1650: the peak
        del second, third
        fifth = floats(800)  # 1250
        return torch.stack([fourth[0], fifth[0]])

    assert peak_bytes_of(run) == 1650 * 4


def test_what_was_there_before_does_not_count() -> None:
    before = [floats(10_000)]

    def run() -> None:
        before.clear()
        floats(300)

    assert peak_bytes_of(run) == 300 * 4


def test_what_an_operator_frees_itself_counts() -> None:
    one, other = torch.ones(2, 10_000)
    assert (peak_bytes_of(lambda: functional.cosine_similarity(one, other, dim=0)) or 0) >= bytes_of([one])


def test_without_a_profiler_there_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_bytes_of(lambda: None) is None, "no allocation was seen"
    monkeypatch.setattr(memory, "kineto_available", lambda: False)
    assert peak_bytes_of(lambda: floats(10)) is None


def test_a_storage_counts_once() -> None:
    whole = floats(100)
    assert bytes_of([whole, whole[:10], whole.view(10, 10), floats(5)]) == 105 * 4


def test_a_step_of_a_detector_on_its_largest_batch(tmp_path: Path) -> None:
    cfg = tiny_cfg(tmp_path)
    subject, images = tiny_detector(cfg), Remembered(make_images(cfg, None, seed=0))
    with torch.no_grad():
        subject.scale_random_weights(images)
    run = TrainingRun(subject, make_optimizer(cfg, subject.model), images, images_per_process=1)
    run.run(4)
    peak = run.peak_tensors_mib()
    assert peak is not None
    assert images.last != 3 and images.sizes[images.last] == max(images.sizes.values())
    weights = bytes_of(subject.model.parameters()) / MIB
    assert peak >= 3 * weights, "with gradients and momentum"
    saved = sum(each.mib for each in run.breakdown())
    assert peak >= 2 * weights + saved, "without gradients, at the end of forward"
    assert peak <= 3 * weights + 2 * saved, "with gradients, and one of each saved tensor"
    assert all(parameter.grad is None for parameter in subject.model.parameters())
