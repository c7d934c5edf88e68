"""Parameter groups and learning rates against the published configs', one update against torch's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.solver import WarmupMultiStepLR, make_lr_scheduler, make_optimizer

GOLDEN = Path(__file__).parents[1] / "golden" / "data"
CONFIGS = Path(__file__).parents[2] / "configs"
SCHEDULES = json.loads((GOLDEN / "ops" / "lr_schedule.json").read_text())


class Named(nn.Module):
    """A module with the parameters of a published model, by name; `kind` p is trainable, f frozen."""

    def __init__(self, entries: list[tuple[str, list[int], str, str]]) -> None:
        super().__init__()
        self.named = [
            (key, nn.Parameter(torch.zeros(1), requires_grad=kind == "p"))
            for key, _, _, kind in entries
            if kind != "b"
        ]

    def named_parameters(self, *arguments: bool) -> Iterator[tuple[str, nn.Parameter]]:  # type: ignore[override]
        return iter(self.named)


@pytest.mark.parametrize(
    "name",
    [
        "vovnet__e2e_mask_rcnn_V_39_FPN_2x",
        "vovnet__scratch_mask_rcnn_V_39_FPN_3x_gn",
        "e2e_faster_rcnn_R_50_FPN_1x",
    ],
)
def test_groups_are_the_published_ones(name: str) -> None:
    """The published optimizer has a group a tensor; ours has as many tensors of each learning rate."""
    published = json.loads((GOLDEN / "state_dicts" / f"{name}.json").read_text())
    expected = published["optimizer"]
    cfg = load_config(str(CONFIGS / f"{name.replace('__', '/')}.yaml"))
    optimizer = make_optimizer(cfg, Named(published["state_dict"]))
    counts = {
        f"lr={group['lr']:g},weight_decay={group['weight_decay']:g}": len(group["params"])
        for group in optimizer.param_groups
    }
    assert counts == expected["groups"]
    assert {group["momentum"] for group in optimizer.param_groups} == {expected["momentum"]}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s["config"] + "".join(map(str, s["opts"])))
def test_learning_rates_are_the_published_ones_to_the_last_bit(schedule: dict) -> None:  # type: ignore[type-arg]
    optimizer, scheduler = published_schedule(schedule)
    assert learning_rates(optimizer) == schedule["lr_after_construction"]
    points = zip(schedule["last_epoch"], schedule["lr_weight"], schedule["lr_bias"], strict=True)
    for last_epoch, weight, bias in points:
        scheduler.load_state_dict({"last_epoch": last_epoch})
        assert learning_rates(optimizer) == [weight, bias]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s["config"] + "".join(map(str, s["opts"])))
def test_iteration_k_runs_at_f_of_k(schedule: dict) -> None:  # type: ignore[type-arg]
    optimizer, scheduler = published_schedule(schedule)
    wanted = dict(schedule["lr_used_in_training_iteration"])
    for iteration in range(1, max(wanted) + 1):
        scheduler.step()
        if iteration in wanted:
            assert learning_rates(optimizer) == wanted[iteration]


def published_schedule(schedule: dict) -> tuple[torch.optim.Optimizer, WarmupMultiStepLR]:  # type: ignore[type-arg]
    """Optimizer (a weight, a bias) and schedule of a published config, built from config keys."""
    keys = ("BASE_LR", "STEPS", "GAMMA", "WARMUP_FACTOR", "WARMUP_ITERS", "WARMUP_METHOD", "MAX_ITER")
    options = [item for key in keys for item in (f"SOLVER.{key}", schedule[key])]
    cfg = load_config(None, options)
    optimizer = make_optimizer(cfg, nn.Linear(1, 1))
    return optimizer, make_lr_scheduler(cfg, optimizer)


def learning_rates(optimizer: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def test_constant_warm_up_and_rejected_schedules() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = WarmupMultiStepLR(
        optimizer, (5,), warmup_factor=0.25, warmup_iters=2, warmup_method="constant"
    )
    seen = [learning_rates(optimizer)[0]]
    for _ in range(5):
        scheduler.step()
        seen += learning_rates(optimizer)
    assert seen == [0.25, 0.25, 1.0, 1.0, 1.0, 0.1]
    with pytest.raises(ValueError, match=r"SOLVER\.WARMUP_METHOD"):
        WarmupMultiStepLR(optimizer, (5,), warmup_method="cosine")
    with pytest.raises(ValueError, match="must ascend"):
        WarmupMultiStepLR(optimizer, (5, 3))


def test_frozen_model_is_refused() -> None:
    with pytest.raises(ValueError, match="no trainable parameter"):
        make_optimizer(load_config(), nn.Linear(1, 1).requires_grad_(False))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_updates_equal_unfused_sgd_in_any_memory_format(momentum: float) -> None:
    cfg = load_config(None, ["SOLVER.MOMENTUM", momentum, "SOLVER.WEIGHT_DECAY", 0.01, "SOLVER.BASE_LR", 0.1])
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)).to(memory_format=torch.channels_last)
    theirs = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1))
    theirs.load_state_dict(ours.state_dict())
    optimizer = make_optimizer(cfg, ours)
    reference = torch.optim.SGD(
        [
            {"params": [p], "lr": 0.2 if "bias" in n else 0.1, "weight_decay": 0.0 if "bias" in n else 0.01}
            for n, p in theirs.named_parameters()
        ],
        momentum=momentum,
        fused=False,
        foreach=False,
    )
    x = torch.randn(2, 3, 8, 8)
    for _ in range(3):
        for model, solver in ((ours, optimizer), (theirs, reference)):
            solver.zero_grad()
            model(x.to(memory_format=torch.channels_last) if model is ours else x).square().mean().backward()
            solver.step()
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), rtol=1e-5, atol=1e-6)


def test_a_skipped_first_step_leaves_weights_and_momentum_alone() -> None:
    model = nn.Linear(3, 2)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = make_optimizer(load_config(), model)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
    optimizer.step()
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert optimizer.state[parameter]["momentum_buffer"].count_nonzero() == 0
