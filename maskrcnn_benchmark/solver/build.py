"""Optimizer and learning-rate schedule from the config."""

from __future__ import annotations

import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.solver.lr_schedule import WarmupMultiStepLR


def make_optimizer(cfg: ConfigNode, model: nn.Module) -> torch.optim.SGD:
    """SGD over the trainable parameters of `model`, which is on its device and in its memory format.

    Two groups: biases (norm biases included) at BIAS_LR_FACTOR times the rate with WEIGHT_DECAY_BIAS, and the
    rest. The family has a group for each tensor with these same values; two let the update run as a few fused
    kernels. The fused update also takes `found_inf`, by which a non-finite step is skipped without asking the
    device.

    Raises:
        ValueError: nothing to train.
    """
    solver = cfg.SOLVER
    weights, biases = split_parameters(model)
    groups = [
        {"params": weights, "lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY},
        {
            "params": biases,
            "lr": solver.BASE_LR * solver.BIAS_LR_FACTOR,
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


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trainable parameters of `model`: no biases, and biases (by name, as in the family)."""
    weights: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
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


def make_lr_scheduler(cfg: ConfigNode, optimizer: torch.optim.Optimizer) -> WarmupMultiStepLR:
    """The warm-up multi-step schedule of SOLVER."""
    solver = cfg.SOLVER
    return WarmupMultiStepLR(
        optimizer,
        solver.STEPS,
        gamma=solver.GAMMA,
        warmup_factor=solver.WARMUP_FACTOR,
        warmup_iters=solver.WARMUP_ITERS,
        warmup_method=solver.WARMUP_METHOD,
    )
