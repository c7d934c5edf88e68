"""Times, stages, MACs and memory of a small detector, against what is known of them beforehand."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from benchmark.tiny_case import tiny_cfg, tiny_detector
from torch import nn

from maskrcnn_benchmark.benchmark.measure.images import DrawnImages, make_images
from maskrcnn_benchmark.benchmark.measure.inference import measure_split, measure_times
from maskrcnn_benchmark.benchmark.measure.macs import count_macs
from maskrcnn_benchmark.benchmark.measure.memory import PEAK_RSS_LABEL, peak_training_memory
from maskrcnn_benchmark.benchmark.measure.saved_tensors import SavedTensors
from maskrcnn_benchmark.benchmark.measure.stages import StageCall, StageMeter, replaced, watched
from maskrcnn_benchmark.benchmark.measure.subject import Counts, OurDetector
from maskrcnn_benchmark.benchmark.measure.training import TrainingRun, training_throughput
from maskrcnn_benchmark.solver import make_optimizer
from maskrcnn_benchmark.utils.device import MIB

Case = tuple[OurDetector, DrawnImages]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    cfg = tiny_cfg(tmp_path_factory.mktemp("tiny"))
    images, subject = make_images(cfg, None, seed=0), tiny_detector(cfg)
    assert isinstance(images, DrawnImages)
    with torch.no_grad():
        subject.scale_random_weights(images)
    return subject, images


class Clock:
    """Ticks as it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Parts:
    """A detector of two stages and one within the second; every part takes the time in its name."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def take_3(self) -> str:
        self.clock.now += 3
        return "three"

    def take_5(self) -> str:
        self.clock.now += 4
        self.take_7()
        self.clock.now += 1
        return "five"

    def take_7(self) -> str:
        self.clock.now += 7
        return "seven"


def test_the_meter_splits_without_counting_twice() -> None:
    clock = Clock()
    parts, meter = Parts(clock), StageMeter(clock)
    calls = [
        StageCall(parts, "take_3", "rpn"),
        StageCall(parts, "take_5", "box_head"),
        StageCall(parts, "take_7", "post_processing"),
    ]
    with watched(calls, meter), meter.run():
        clock.now += 10  # before the first stage: belongs to it
        assert parts.take_3() == "three"
        clock.now += 20  # between two: belongs to the later
        assert parts.take_5() == "five"
        clock.now += 40  # after the last: post-processing
    assert {stage: total for stage, total in meter.totals.items() if total} == {
        "rpn": 13,
        "box_head": 25,
        "post_processing": 47,
    }
    assert "take_3" not in vars(parts), "the part is as it was"


def test_replaced_gives_an_own_attribute_back() -> None:
    class Owner:
        def __init__(self) -> None:
            self.call = abs

    owner = Owner()
    with replaced(owner, "call", len):
        assert owner.call is len
    assert owner.call is abs


def test_times_and_split(case: Case) -> None:
    subject, images = case
    times = measure_times(subject, images, 4)
    assert len(times.times_ms) == times.num_images == 4
    assert sorted(times.times_ms)[1] <= times.median_ms <= sorted(times.times_ms)[2]
    assert times.p90_ms == max(times.times_ms)
    split, _ = measure_split(subject, images, 2, True, "")
    assert split.mask_head is not None and split.mask_pasting is not None
    assert min(split.backbone, split.fpn, split.rpn, split.box_head, split.mask_head) > 0
    assert min(split.to_device, split.post_processing, split.mask_pasting) > 0


def test_the_split_sees_where_time_goes(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, images = case
    fpn = subject.detector.get_submodule("backbone.fpn")
    forward = fpn.forward

    def slow(*inputs: object) -> object:
        time.sleep(0.5)
        return forward(*inputs)

    monkeypatch.setattr(fpn, "forward", slow)
    split, _ = measure_split(subject, images, 1, True, "")
    assert split.fpn >= 500


def conv(in_channels: int, out_channels: int, side: int, pixels: int) -> int:
    return in_channels * out_channels * side * side * pixels


def test_macs_are_those_counted_by_hand(case: Case) -> None:
    subject, images = case
    macs = count_macs(subject, images)
    height, width = macs.image_hw
    assert (height % 32, width % 32) == (0, 0)
    pixels = [height * width // stride**2 for stride in (4, 8, 16, 32)]
    fpn = sum(
        conv(body, 32, 1, count) + conv(32, 32, 3, count)
        for body, count in zip((128, 256, 384, 512), pixels, strict=True)
    )
    last = -(-height // 64) * -(-width // 64)
    rpn = sum(conv(32, 32, 3, count) + conv(32, 3 * 5, 1, count) for count in [*pixels, last])
    counts = _counts(case)
    fully_connected = 32 * 49 * 64 + 64 * 64 + 64 * 81 + 64 * 81 * 4
    box = counts[0] * (fully_connected + 32 * 49 * 4 * 4)  # 4 samples a bin, 4 corners a sample
    mask = conv(32, 16, 3, 14 * 14) + conv(16, 16, 3, 14 * 14)  # two convolutions
    mask += conv(16, 16, 2, 14 * 14) + conv(16, 1, 1, 28 * 28)  # twice the side, own class alone
    mask += 32 * 14 * 14 * 4 * 4
    expected = {"fpn": fpn, "rpn": rpn, "box_head": box, "mask_head": counts[1] * mask}
    assert {stage: macs.by_stage[stage] for stage in expected} == expected
    assert macs.total == sum(macs.by_stage.values())
    assert all(parameter.requires_grad for parameter in subject.model.parameters())


def _counts(case: Case) -> tuple[int, int]:
    subject, images = case
    counts: list[Counts] = []
    with torch.no_grad(), subject.counting(counts):
        subject.detect(subject.to_device(subject.collate([images.test_image(0)])))
    return int(counts[0][0]), int(counts[0][1])


def test_saved_tensors_are_counted_once_by_module() -> None:
    model = nn.Sequential(nn.Linear(256, 512), nn.Sigmoid(), nn.Linear(512, 8))
    saved = SavedTensors(model)
    with saved.counting():
        loss = model(torch.randn(64, 256)).sum()
    found = {each.module: (each.mib * MIB, each.tensors) for each in saved.breakdown()}
    # the first layer keeps its input; the sigmoid its output, which is also the last layer's input
    assert found == {"0": (64 * 256 * 4, 1), "1": (64 * 512 * 4, 1)}
    loss.backward()


def test_training_steps_leave_weights_alone(case: Case, tmp_path: Path) -> None:
    cfg = tiny_cfg(tmp_path)
    subject = tiny_detector(cfg)
    with torch.no_grad():
        subject.scale_random_weights(case[1])
    before = [parameter.clone() for parameter in subject.model.parameters()]
    run = TrainingRun(subject, make_optimizer(cfg, subject.model), case[1], images_per_process=2)
    run.warm_up()
    seconds = run.run(2)
    memory = peak_training_memory(torch.device("cpu"), idle_mib=1.0, steps=2)
    assert memory.label == PEAK_RSS_LABEL
    assert memory.peak_rss_mib is not None and memory.peak_rss_mib > 100
    assert memory.allocated_mib is None
    found = training_throughput(seconds, 2)
    assert found.total == found.per_process == pytest.approx(2 / ((seconds[0] + seconds[1]) / 2))
    assert all(torch.equal(*pair) for pair in zip(before, subject.model.parameters(), strict=True))
    stages = {each.module.split(".")[0] for each in run.breakdown()}
    assert stages >= {"backbone", "rpn", "roi_heads"}
