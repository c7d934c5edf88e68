"""What the inference time counts, with a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engine import inference_case as case

from maskrcnn_benchmark.engine import inference_time
from maskrcnn_benchmark.engine.inference_time import measure_inference_time
from maskrcnn_benchmark.engine.precision import Precision


class Clock:
    """Stands still until something says how long it took."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


class SlowDetector(case.KnowingDetector):
    """Takes 1 s for image 0, 2 s for image 1 and so on."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.batch_sizes: list[int] = []

    def forward(self, images: Any) -> Any:
        answers = super().forward(images)
        self.batch_sizes.append(len(answers))
        self.clock.now += self.seen[-1] + 1
        return answers


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(inference_time, "time", clock)
    encode = inference_time.predictions_of_index

    def slow_pasting(*arguments: Any) -> Any:
        clock.now += 0.25
        return encode(*arguments)

    monkeypatch.setattr(inference_time, "predictions_of_index", slow_pasting)
    return clock


def slow_loader(folder: Path, clock: Clock) -> Any:
    loader = case.make_loader(folder)
    collate = loader.collate_fn

    def slow_collate(items: Any) -> Any:
        clock.now += 1000  # loading must not count
        return collate(items)

    loader.collate_fn = slow_collate
    return loader


def test_counts_the_model_alone(tmp_path: Path, clock: Clock) -> None:
    case.write_dataset(tmp_path, 10)
    model = SlowDetector(clock).train()
    loader = slow_loader(tmp_path, clock)
    timed = measure_inference_time(model, loader, "cpu", with_masks=True, num_warmup=2, max_seconds=1e9)
    assert timed is not None
    assert (timed.median, timed.p90, timed.num_images) == (5.5, 9.0, 10)
    assert timed.pasting_median == 0.25
    assert model.batch_sizes == [1] * 12
    assert model.seen == [0, 0, *range(10)], "two runs to warm up, then every image"
    assert model.training and model.modes == {False}


def test_stops_when_time_is_up(tmp_path: Path, clock: Clock) -> None:
    case.write_dataset(tmp_path, 10)
    loader = slow_loader(tmp_path, clock)
    timed = measure_inference_time(SlowDetector(clock), loader, "cpu", max_seconds=2500)
    assert timed is not None
    assert timed.num_images == 3
    assert timed.pasting_median is None, "no masks were asked for"


def test_at_most_so_many_images(tmp_path: Path, clock: Clock) -> None:
    case.write_dataset(tmp_path, 4)
    timed = measure_inference_time(SlowDetector(clock), case.make_loader(tmp_path), "cpu", num_images=2)
    assert timed is not None and timed.num_images == 2


def test_model_runs_in_the_asked_precision(tmp_path: Path) -> None:
    case.write_dataset(tmp_path, 1)
    model = case.KnowingDetector()
    types = []
    product = torch.nn.Linear(1, 1)
    model.register_forward_pre_hook(lambda *_: types.append(product(torch.ones(1, 1)).dtype))
    measure_inference_time(model, case.make_loader(tmp_path), "cpu", Precision(torch.bfloat16), num_warmup=0)
    assert types == [torch.bfloat16]
