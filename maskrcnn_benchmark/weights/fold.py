"""Differences between a source's input and norms and this project's, taken up by the weights themselves."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.weights.architecture import BODY_PREFIX
from maskrcnn_benchmark.weights.converted import PixelStatistics

VARIANCE = "running_var"


@torch.no_grad()
def fold_pixels(
    state: Mapping[str, Tensor], source: PixelStatistics, target: PixelStatistics
) -> dict[str, Tensor]:
    """Changes a body's first convolution so that it takes images as `target` gives them.

    With u = (pixel - source.mean) / source.std and t = (pixel - target.mean) / target.std, u is t times a
    factor plus a constant in every channel: the factor goes into the convolution's weights, the channels are
    put in the target's order, and the constant's response goes into the convolution's bias or into the mean
    of the batch norm behind it. The result is the source's exactly but for the border: there zero padding
    stands for the colour `target.mean`, where the source saw `source.mean`.

    Args:
        state: a detector's or body's entries, the body's with the prefix "backbone.body.".

    Returns:
        A new dictionary; the tensors that did not change are the same objects.

    Raises:
        ValueError: no first convolution is found, or neither it nor what follows can take up a mean (a
            convolution without bias before a group norm).
    """
    name = first_convolution(state)
    weight = state[name].double()
    order = [source.order.index(channel) for channel in target.order]
    source_mean, source_std, target_mean, target_std = (
        torch.tensor(values, dtype=torch.float64)
        for values in (
            [source.mean[i] for i in order],
            [source.std[i] for i in order],
            target.mean,
            target.std,
        )
    )
    weight = weight[:, order]
    constant = (weight * ((target_mean - source_mean) / source_std).view(1, 3, 1, 1)).sum((1, 2, 3))
    folded = dict(state)
    folded[name] = _like(weight * (target_std / source_std).view(1, 3, 1, 1), state[name])
    if constant.abs().max() > 0:
        taker, sign = _taker_of_constants(state, name)
        folded[taker] = _like(state[taker].double() + sign * constant, state[taker])
    return folded


def first_convolution(state: Mapping[str, Tensor]) -> str:
    """The name of the body's one convolution over three channels that are not a group's.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = [
        name
        for name, tensor in state.items()
        if name.startswith(BODY_PREFIX) and tensor.dim() == 4 and tensor.shape[1] == 3
    ]
    if len(found) != 1:
        raise ValueError(
            f"the convolution that takes the image is not to be told: convolutions over three channels under "
            f"{BODY_PREFIX} are {', '.join(found) or 'none'}"
        )
    return found[0]


def _taker_of_constants(state: Mapping[str, Tensor], weight_name: str) -> tuple[str, int]:
    """Which vector takes up a constant added to a convolution's result, and with which sign."""
    conv = weight_name.removesuffix(".weight")
    if f"{conv}.bias" in state:
        return f"{conv}.bias", 1
    mean = f"{_norm_after(conv)}.running_mean"
    if mean in state:
        return mean, -1
    raise ValueError(
        f"{weight_name}: the source subtracts another mean from the pixels than INPUT.PIXEL_MEAN, which a "
        f"convolution without bias and without batch norm behind it cannot take up; set INPUT.PIXEL_MEAN and "
        f"INPUT.PIXEL_STD to the source's, or MODEL.BACKBONE.NORM to FrozenBN, BN or SyncBN"
    )


def _norm_after(conv: str) -> str:
    """The name of the norm behind the convolution `conv`: stem_1/norm, bn1, or the next in a sequence."""
    if conv.endswith("/conv"):
        return conv.removesuffix("conv") + "norm"
    head, _, last = conv.rpartition(".")
    return f"{head}.{int(last) + 1 if last.isdigit() else last.replace('conv', 'bn')}"


@torch.no_grad()
def adapt_batch_norm_eps(
    state: Mapping[str, Tensor], source_eps: float, model: nn.Module
) -> dict[str, Tensor]:
    """Changes the variances so that the model's norms, with their own eps, give what the source's gave.

    `source_eps`: what the source added to its variances; FrozenBatchNorm2d here adds nothing. Where the sum
    would be a negative variance, the variance becomes 0 and the norm's weight takes up the rest.

    Returns:
        A new dictionary; the tensors that did not change are the same objects.
    """
    eps_of = {
        name: float(getattr(module, "eps", 0.0))
        for name, module in model.named_modules()
        if hasattr(module, VARIANCE)
    }
    # a name that is not the model's, such as a stage that a C4 detector keeps in its head
    usual_eps = next(iter(eps_of.values()), 0.0)
    adapted = dict(state)
    for name, variance in state.items():
        norm, _, entry = name.rpartition(".")
        own_eps = eps_of.get(norm, usual_eps)
        if entry != VARIANCE or own_eps == source_eps:
            continue
        wanted = variance.double() + source_eps
        remaining = (wanted - own_eps).clamp(min=0)
        adapted[name] = _like(remaining, variance)
        if remaining.min() == 0:
            weight = state[f"{norm}.weight"]
            factor = ((remaining + own_eps) / wanted).sqrt()
            adapted[f"{norm}.weight"] = _like(weight.double() * factor, weight)
    return adapted


def _like(value: Tensor, original: Tensor) -> Tensor:
    """In the type of the original, or float32 where that is of half precision."""
    return value.to(original.dtype if original.dtype == torch.float64 else torch.float32)
