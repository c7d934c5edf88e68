"""Schedules against closed forms, through the config, resumed and scaled; the body's own learning rate."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import describe_scaling, load_config
from maskrcnn_benchmark.solver import WarmupLR, make_lr_scheduler, make_optimizer

POLY = ("SOLVER.LR_SCHEDULE", "poly", "SOLVER.POLY_POWER", 0.7)
COSINE = ("SOLVER.LR_SCHEDULE", "cosine")
SHORT = ("SOLVER.MAX_ITER", 40, "SOLVER.STEPS", (20, 30), "SOLVER.BASE_LR", 0.5, "SOLVER.WARMUP_ITERS", 8)
WARMUP_FACTOR = 1 / 3

CLOSED_FORMS: dict[tuple[object, ...], Callable[[int], float]] = {
    (): lambda k: 0.5 * (1.0 if k < 20 else 0.1 if k < 30 else 0.01),
    POLY: lambda k: 0.5 * (1 - (k - 1) / 40) ** 0.7,
    COSINE: lambda k: 0.5 * (0.5 + 0.5 * math.cos(math.pi * (k - 1) / 40)),
    (*POLY, "SOLVER.END_LR_FACTOR", 0.2): lambda k: 0.1 + 0.4 * (1 - (k - 1) / 40) ** 0.7,
    (*COSINE, "SOLVER.END_LR_FACTOR", 0.2): lambda k: 0.1 + 0.2 * (1 + math.cos(math.pi * (k - 1) / 40)),
}


def start(*keys: object) -> tuple[torch.optim.Optimizer, WarmupLR]:
    cfg = load_config(None, [*SHORT, *keys])
    optimizer = make_optimizer(cfg, nn.Linear(1, 1))
    return optimizer, make_lr_scheduler(cfg, optimizer)


def run(optimizer: torch.optim.Optimizer, scheduler: WarmupLR, iterations: int) -> list[float]:
    """The learning rate of the weights in each of the next iterations."""
    lrs = []
    for _ in range(iterations):
        scheduler.step()
        lrs.append(optimizer.param_groups[0]["lr"])
        assert optimizer.param_groups[1]["lr"] == pytest.approx(2 * lrs[-1])  # biases
    return lrs


@pytest.mark.parametrize("keys", CLOSED_FORMS, ids=str)
def test_learning_rates_are_the_closed_form_after_a_linear_warm_up(keys: tuple[object, ...]) -> None:
    warmup = [min(1.0, WARMUP_FACTOR + (1 - WARMUP_FACTOR) * k / 8) for k in range(1, 41)]
    expected = [factor * CLOSED_FORMS[keys](k) for k, factor in enumerate(warmup, start=1)]
    assert run(*start(*keys), 40) == pytest.approx(expected)


@pytest.mark.parametrize("keys", [(), POLY, COSINE], ids=str)
@pytest.mark.parametrize("done", [3, 8, 25])
def test_a_resumed_schedule_goes_on_exactly(keys: tuple[object, ...], done: int) -> None:
    whole = run(*start(*keys), 40)
    optimizer, scheduler = start(*keys)
    run(optimizer, scheduler, done)
    resumed_optimizer, resumed = start(*keys)
    resumed_optimizer.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert run(resumed_optimizer, resumed, 40 - done) == whole[done:]


def test_a_longer_run_on_resume_says_that_the_curve_changes(caplog: pytest.LogCaptureFixture) -> None:
    _, scheduler = start(*COSINE)
    _, longer = start(*COSINE, "SOLVER.MAX_ITER", 80)
    with caplog.at_level(logging.WARNING, "maskrcnn_benchmark"):
        longer.load_state_dict(scheduler.state_dict())
    assert "SOLVER.MAX_ITER was 40 and is 80 now" in caplog.text
    assert scheduler.state_dict() == {"last_epoch": 0, "max_iter": 40}


@pytest.mark.parametrize("keys", [POLY, COSINE], ids=str)
def test_the_curve_follows_the_batch(keys: tuple[object, ...]) -> None:
    """Half the batch: twice the iterations, half the learning rate, the same curve of the progress."""
    reference = load_config(None, ["SOLVER.BASE_LR", 0.02, *keys, "SOLVER.WARMUP_ITERS", 0]).SOLVER
    opts = [*keys, "SOLVER.WARMUP_ITERS", 0, "SOLVER.IMS_PER_BATCH", 8]
    scaled = load_config(None, opts)
    assert scaled.SOLVER.MAX_ITER == 2 * reference.MAX_ITER
    optimizer = make_optimizer(scaled, nn.Linear(1, 1))
    scheduler = make_lr_scheduler(scaled, optimizer)
    whole = load_config(None, [*keys, "SOLVER.WARMUP_ITERS", 0])
    other = make_optimizer(whole, nn.Linear(1, 1))
    other_scheduler = make_lr_scheduler(whole, other)
    for iteration in (0, 10000, 30000):
        scheduler.load_state_dict({"last_epoch": 2 * iteration + 1})
        other_scheduler.load_state_dict({"last_epoch": iteration + 1})
        assert optimizer.param_groups[0]["lr"] == pytest.approx(other.param_groups[0]["lr"] / 2)
    assert "STEPS" not in describe_scaling(None, opts)
    assert "MAX_ITER 40000 x 16/8 = 80000" in describe_scaling(None, opts)


def test_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"SOLVER\.LR_SCHEDULE = 'step' is not one of 'multistep', 'poly'"):
        load_config(None, ["SOLVER.LR_SCHEDULE", "step"])


class Detector(nn.Module):
    """The names of a detector's parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"body": nn.Conv2d(3, 4, 1), "fpn": nn.Conv2d(4, 4, 1)})
        self.head = nn.Linear(4, 2)


def test_the_body_has_its_own_learning_rate() -> None:
    model = Detector()
    lr_of = {id(p): 0.1 for p in model.parameters()}
    lr_of |= {id(p): 0.025 for p in model.backbone["body"].parameters()}
    cfg = load_config(
        None,
        ["SOLVER.BASE_LR", 0.1, "SOLVER.BACKBONE_LR_FACTOR", 0.25, "SOLVER.WEIGHT_DECAY_BIAS", 0.5],
    )
    optimizer = make_optimizer(cfg, model)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    expected = {
        id(p): (2 * lr_of[id(p)], 0.5) if "bias" in name else (lr_of[id(p)], cfg.SOLVER.WEIGHT_DECAY)
        for name, p in model.named_parameters()
    }
    assert found == expected
    assert optimizer.param_groups[0]["lr"] == 0.1  # the logged learning rate is that of the heads
    # the schedule keeps the ratio, and without a factor there are the family's two groups
    scheduler = make_lr_scheduler(cfg, optimizer)
    scheduler.step()
    lrs = [group["lr"] for group in optimizer.param_groups]
    assert lrs[2] == pytest.approx(0.25 * lrs[0])
    assert len(make_optimizer(load_config(), model).param_groups) == 2


def test_a_frozen_body_leaves_its_groups_out() -> None:
    model = Detector()
    model.backbone["body"].requires_grad_(False)
    optimizer = make_optimizer(load_config(None, ["SOLVER.BACKBONE_LR_FACTOR", 0.5]), model)
    assert len(optimizer.param_groups) == 2
