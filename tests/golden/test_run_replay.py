"""Learning rates, smoothed values, data set names and weight matching against the reference's."""

from typing import Any

import pytest
import torch
from golden.reference import config_of, read_json
from torch import nn

from maskrcnn_benchmark.config.paths_catalog import ROOT_VARIABLE, DatasetCatalog
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import WarmupMultiStepLR, make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.utils.metric_logger import SmoothedValue
from maskrcnn_benchmark.utils.weight_matching import match_keys, match_state, strip_prefix_if_present

Schedule = tuple[dict[str, Any], WarmupMultiStepLR]

SCHEDULES = read_json("ops/lr_schedule.json")
WEIGHTS = read_json("ops/checkpoint_keys.json")
# data sets of the reference that are not catalogued here: keypoints, Pascal VOC and Cityscapes
OTHER_DATASETS = ("keypoints_", "voc_", "cityscapes_")


@pytest.fixture(params=SCHEDULES, ids=lambda case: case["config"] + case["WARMUP_METHOD"])
def schedule(request: pytest.FixtureRequest) -> Schedule:
    """The record, and a scheduler over one weight and one bias."""
    case = request.param
    cfg = config_of(case["config"], tuple(case["opts"]))
    return case, make_lr_scheduler(cfg, make_optimizer(cfg, nn.Linear(2, 2)))


def rates(scheduler: WarmupMultiStepLR) -> list[float]:
    """The rates that the optimizer would use now: of weights and of biases."""
    return [group["lr"] for group in scheduler.optimizer.param_groups]


def test_rate_at_every_recorded_iteration(schedule: Schedule) -> None:
    """To the last bit: the same products in the same order."""
    case, scheduler = schedule
    assert rates(scheduler) == case["lr_after_construction"]
    for iteration, *expected in zip(case["last_epoch"], case["lr_weight"], case["lr_bias"], strict=True):
        scheduler.load_state_dict({"last_epoch": iteration})
        assert rates(scheduler) == expected


def test_rate_used_in_training(schedule: Schedule) -> None:
    """Iteration k = 1, 2, ... steps the schedule first, and so runs at f(k)."""
    case, scheduler = schedule
    used = []
    for _ in range(case["lr_used_in_training_iteration"][-1][0]):
        scheduler.step()
        used.append(rates(scheduler))
    for iteration, expected in case["lr_used_in_training_iteration"]:
        assert used[iteration - 1] == expected


def test_smoothed_value() -> None:
    case = read_json("ops/misc.json")["smoothed_value"]
    smoothed = SmoothedValue(case["window"])
    for value in case["values"]:
        smoothed.update(value)
    assert smoothed.median == case["median"]
    assert smoothed.avg == case["avg"]
    assert smoothed.global_avg == pytest.approx(case["global_avg"], rel=1e-12)


def test_data_set_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every catalogued COCO name stands for the same files."""
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    every = read_json("ops/catalog.json")["datasets"]
    expected = {name: entry for name, entry in every.items() if not name.startswith(OTHER_DATASETS)}
    assert len(expected) == 6
    assert {name: DatasetCatalog.get(name) for name in expected} == expected


# Differs on purpose, by case number: a name is cut at a dot only (there "b.weight" also fits "xb.weight"),
# and only a leading "module." is dropped (there every one in a name, so that "p.module.w" loses its own).
DIFFERENT_MATCHES = {2: {"xb.weight": None}, 4: {"p.module.w": "module.p.module.w"}}


@pytest.mark.parametrize("number", range(len(WEIGHTS["matching"])))
def test_weight_names(number: int) -> None:
    case = WEIGHTS["matching"][number]
    original = strip_prefix_if_present(dict(zip(case["loaded_keys"], case["loaded_keys"], strict=True)))
    matches = match_keys(case["model_keys"], original)
    found = {key: None if name is None else original[name] for key, name in matches.items()}
    assert found == case["result"] | DIFFERENT_MATCHES.get(number, {})


def test_imagenet_body_fits_the_detector() -> None:
    """A body's file as trained in parallel: all of the body is covered, nothing else is touched."""
    case = WEIGHTS["vovnet_imagenet"]
    with torch.device("meta"):
        state = build_detection_model(config_of(case["config"])).state_dict()
    prefix = "backbone.body."
    body = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    counters = [
        key.replace("running_mean", "num_batches_tracked") for key in body if key.endswith("running_mean")
    ]
    batches = dict.fromkeys(counters, torch.tensor(0))
    classifier = {"classifier.weight": torch.zeros(1000, 1024), "classifier.bias": torch.zeros(1000)}
    loaded = {f"module.{key}": tensor for key, tensor in (body | batches | classifier).items()}
    match = match_state(state, strip_prefix_if_present(loaded))
    assert match.is_body
    assert len(match.loaded) == case["n_matched"] == len(body)
    assert case["all_body_matched"]
    assert case["others_matched"] == []
    assert set(match.unexpected) == set(classifier)
