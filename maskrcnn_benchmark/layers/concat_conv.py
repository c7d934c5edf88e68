"""A 1x1 convolution over a concatenation that is not kept for backward.

The concatenations are a third of what autograd saves in a VoVNet. They hold nothing new: the parts are
outputs that the layers which made them keep anyhow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.conv_norm import finish_conv, fold_norm, fused_concat_conv2d
from maskrcnn_benchmark.layers.cpu_inference.prepared import autocast_dtype


def concat_conv2d(
    parts: Sequence[Tensor],
    conv: nn.Conv2d,
    norm: nn.Module | None = None,
    relu: bool = False,
    recompute: bool = True,
) -> Tensor:
    """fused_conv2d, with a 1x1 convolution, over the parts [N,Ci,H,W] concatenated along the channels.

    With `recompute` the concatenation is gone after forward, and backward works on the parts one by one. The
    result is the same to the bit, gradients are so to the rounding of another order of summation. With
    gradients off it is `fused_concat_conv2d`.
    """
    if not (recompute and torch.is_grad_enabled()):
        return fused_concat_conv2d(parts, conv, norm, relu)
    assert (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((1, 1), (1, 1), (0, 0), 1)
    weight, bias = fold_norm(conv, norm)
    dtype = autocast_dtype(weight)
    if dtype is not None:  # autocast does not look into the function below
        weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        parts = [part.to(dtype) for part in parts]
    return finish_conv(_ConcatConv.apply(weight, bias, *parts), norm, relu, None)


class _ConcatConv(torch.autograd.Function):
    """conv1x1(cat(parts)), which is a sum of one convolution a part: so backward takes them."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *parts)
        return torch.conv2d(torch.cat(parts, 1), weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        weight, *parts = ctx.saved_tensors
        needs_weight, needs_bias, *needs_part = ctx.needs_input_grad
        slices = weight.split([part.shape[1] for part in parts], dim=1)
        weight_grads, part_grads = [], []
        for part, piece, needs in zip(parts, slices, needs_part, strict=True):
            part_grad, weight_grad, _ = torch.ops.aten.convolution_backward(
                grad,
                part,
                piece,
                None,
                [1, 1],
                [0, 0],
                [1, 1],
                False,
                [0, 0],
                1,
                [needs, needs_weight, False],
            )
            part_grads.append(part_grad)
            weight_grads.append(weight_grad)
        weight_grad = torch.cat(weight_grads, 1) if needs_weight else None
        return weight_grad, grad.sum((0, 2, 3)) if needs_bias else None, *part_grads
