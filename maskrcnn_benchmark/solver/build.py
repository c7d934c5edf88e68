"""Optimizer and learning-rate schedule from the config."""

from __future__ import annotations

import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.solver.lr_schedule import (
    WarmupCurveLR,
    WarmupLR,
    WarmupMultiStepLR,
    half_cosine,
    polynomial,
)


def make_optimizer(cfg: ConfigNode, model: nn.Module) -> torch.optim.SGD:
    """SGD over the trainable parameters of `model`, which is on its device and in its memory format.

    Two groups: biases (norm biases included) at BIAS_LR_FACTOR times the learning rate with
    WEIGHT_DECAY_BIAS, and the rest; with a BACKBONE_LR_FACTOR other than 1 two more, the same for the body,
    whose learning rates it multiplies. The family has a group for each tensor with these same values; few
    groups let the update run as few fused kernels. The fused update also takes `found_inf`, by which a
    non-finite step is skipped without asking the device.

    Raises:
        ValueError: nothing to train.
    """
    solver = cfg.SOLVER
    parts = [(split_parameters(model), 1.0)]
    if solver.BACKBONE_LR_FACTOR != 1:
        parts = [
            (split_parameters(model, in_body=False), 1.0),
            (split_parameters(model, in_body=True), solver.BACKBONE_LR_FACTOR),
        ]
    groups = []
    for (weights, biases), factor in parts:
        lr = solver.BASE_LR * factor
        groups += [
            {"params": weights, "lr": lr, "weight_decay": solver.WEIGHT_DECAY},
            {
                "params": biases,
                "lr": lr * solver.BIAS_LR_FACTOR,
                "weight_decay": solver.WEIGHT_DECAY_BIAS,
            },
        ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("the model has no trainable parameter; lower MODEL.BACKBONE.FREEZE_CONV_BODY_AT")
    optimizer = torch.optim.SGD(groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, fused=True)
    if solver.MOMENTUM:
        start_momentum(optimizer)
    return optimizer


def split_parameters(
    model: nn.Module, in_body: bool | None = None
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trainable parameters of `model`: no biases, and biases (by name, as in the family).

    `in_body`: of the body alone (True), of all but the body (False), of both (None).
    """
    body = getattr(getattr(model, "backbone", None), "body", None)
    of_body = {id(parameter) for parameter in body.parameters()} if isinstance(body, nn.Module) else set()
    weights: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and in_body in (None, id(parameter) in of_body):
            (biases if "bias" in name else weights).append(parameter)
    return weights, biases


def start_momentum(optimizer: torch.optim.SGD) -> None:
    """Gives every parameter a momentum of zero, which the first step turns into its gradient, as without it.

    Left to itself the fused update allocates the buffers in its first step; were that step skipped for a non-
    finite gradient, they would stay uninitialised.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def make_lr_scheduler(cfg: ConfigNode, optimizer: torch.optim.Optimizer) -> WarmupLR:
    """The schedule SOLVER.LR_SCHEDULE, after SOLVER's warm-up."""
    solver = cfg.SOLVER
    warmup = (solver.WARMUP_FACTOR, solver.WARMUP_ITERS, solver.WARMUP_METHOD)
    if solver.LR_SCHEDULE == "multistep":
        return WarmupMultiStepLR(optimizer, solver.STEPS, solver.GAMMA, *warmup)
    curves = {"poly": polynomial(solver.POLY_POWER), "cosine": half_cosine}
    if solver.LR_SCHEDULE not in curves:
        raise ValueError(
            f"SOLVER.LR_SCHEDULE = {solver.LR_SCHEDULE!r} is not one of multistep, {', '.join(curves)}"
        )
    return WarmupCurveLR(
        optimizer, curves[solver.LR_SCHEDULE], solver.MAX_ITER, solver.END_LR_FACTOR, *warmup
    )
