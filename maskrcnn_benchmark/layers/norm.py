"""Normalisation layers, and factories that make one for a number of channels.

A module that needs a norm takes a `NormFactory` as an argument, so that no global decides between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NormFactory = Callable[[int], nn.Module]


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with fixed statistics and a fixed affine map, without eps, as published checkpoints rest on.

    All four vectors are buffers under the names of nn.BatchNorm2d: no gradient, no running update. It is one
    affine map a channel, y = scale * x + shift, which `fused_conv2d` folds into the convolution before it.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Takes the entries of an nn.BatchNorm2d as well, whose count of batches is of no use here."""
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def scale_shift(self) -> tuple[Tensor, Tensor]:
        """The affine map as two vectors [C]: scale and shift."""
        scale = self.weight * self.running_var.rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """x [N,C,H,W] -> [N,C,H,W], in the dtype of x."""
        scale, shift = (vector.to(x.dtype).view(1, -1, 1, 1) for vector in self.scale_shift())
        return x * scale + shift

    def extra_repr(self) -> str:
        return str(self.num_features)


class GroupNorm(nn.GroupNorm):
    """nn.GroupNorm (Wu and He 2018) that keeps the dtype of its input under autocast.

    Autocast on CUDA would widen the input and the output to float32, and autograd would keep both: twice the
    memory. The kernels sum in float32 whatever the dtype, so the statistics lose nothing.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x [N,C,H,W] -> [N,C,H,W], in the dtype of x."""
        with torch.autocast(x.device.type, enabled=False):
            return F.group_norm(x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


def group_norm_factory(num_groups: int, eps: float, channels_per_group: int = -1) -> NormFactory:
    """A factory of GroupNorm with `num_groups` groups, or with groups of `channels_per_group`; -1 is unset.

    Raises:
        ValueError: neither or both numbers are given, or (from the factory) they do not divide the channels.
    """
    if (num_groups > 0) == (channels_per_group > 0):
        raise ValueError(
            f"group norm takes a number of groups or of channels per group, the other being -1; got "
            f"{num_groups} groups and {channels_per_group} channels per group "
            "(MODEL.GROUP_NORM.NUM_GROUPS and MODEL.GROUP_NORM.DIM_PER_GP)"
        )

    def make(num_channels: int) -> nn.Module:
        unit = num_groups if num_groups > 0 else channels_per_group
        if num_channels % unit:
            raise ValueError(
                f"group norm: {num_channels} channels do not split evenly by {unit}; set "
                "MODEL.GROUP_NORM.NUM_GROUPS or MODEL.GROUP_NORM.DIM_PER_GP to a divisor"
            )
        return GroupNorm(num_groups if num_groups > 0 else num_channels // unit, num_channels, eps=eps)

    return make
