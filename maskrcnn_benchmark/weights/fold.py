"""Folds into the weights what a source does differently: its input's pixels, and the eps of its norms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX

ORDERS = ("bgr", "rgb")
VARIANCE = "running_var"


@dataclass(frozen=True)
class PixelStatistics:
    """What a network takes for an image: (pixel - mean) / std for each channel, in the network's order.

    order: "bgr" | "rgb". mean, std: one value a channel, in that order, for pixels of 0..255.

    Raises:
        ValueError: an unknown order, not three values, or a std that is not positive.
    """

    order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order of the channels {self.order!r}: allowed are {', '.join(ORDERS)}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3:
                raise ValueError(f"{name} of the pixels {values}: give three values, for {self.order}")
        if min(self.std) <= 0:
            raise ValueError(f"std of the pixels {self.std}: give values above 0")


def pixel_statistics(model: nn.Module) -> PixelStatistics | None:
    """What the model takes for an image; None for a model that does not normalise."""
    mean, std = getattr(model, "pixel_mean", None), getattr(model, "pixel_std", None)
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        return None
    is_bgr = bool(getattr(model, "to_bgr255", True))
    scale = 1.0 if is_bgr else 255.0  # red, green, blue come in 0..1
    means, stds = ([float(v) * scale for v in values.flatten()] for values in (mean, std))
    return PixelStatistics(
        "bgr" if is_bgr else "rgb", (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])
    )


@torch.no_grad()
def fold_pixels(
    state: Mapping[str, Tensor], source: PixelStatistics, target: PixelStatistics
) -> dict[str, Tensor]:
    """Changes a body's first convolution to take images as `target` gives them.

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
            f"the first convolution cannot be found: convolutions over three channels under "
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
    """In the dtype of the original, but float32 where that is float16 or bfloat16."""
    return value.to(original.dtype if original.dtype == torch.float64 else torch.float32)
