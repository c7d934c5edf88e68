"""A 1x1 convolution over maps that are taken as concatenated, for inference on a CPU in float32.

VoVNet's one-shot aggregation (Lee et al. 2019, "An Energy and GPU-Computation Efficient Backbone Network for
Real-Time Object Detection", section 4.1) ends in one: here nothing is concatenated. The kernel is
csrc/cpu/pointwise.cpp, for processors with AVX2 or AVX-512.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES
from maskrcnn_benchmark.layers.winograd import CHANNEL_BLOCK, COLUMNS


def fits_pointwise(parts: Sequence[Tensor], conv: nn.Conv2d) -> bool:
    """Whether the kernel serves this convolution over these maps on this processor."""
    return (
        COLUMNS > 0
        and conv.kernel_size == (1, 1)
        and conv.stride == (1, 1)
        and conv.padding == (0, 0)
        and conv.groups == 1
        and conv.out_channels % CHANNEL_BLOCK == 0
        and all(part.shape[1] % CHANNEL_BLOCK == 0 for part in parts)
    )


def pointwise_weight(weight: Tensor) -> Tensor:
    """The weight [K,C,1,1] (float32) as `pointwise_conv2d` takes it, in an order that belongs to this
    processor."""
    return torch.ops.maskrcnn_benchmark.pointwise_weight(weight)


def pointwise_conv2d(
    parts: Sequence[Tensor], weight: Tensor, bias: Tensor | None, out_channels: int, relu: bool = False
) -> Tensor:
    """conv2d(cat(parts, 1), weight, bias): parts [N,Ci,H,W] -> [N,out_channels,H,W], channels_last, float32.

    weight: `pointwise_weight` of the convolution's. The channels of each part are a multiple of 16.
    """
    maps = [part.contiguous(memory_format=torch.channels_last) for part in parts]
    return torch.ops.maskrcnn_benchmark.pointwise_conv2d(maps, weight, bias, out_channels, relu)


if KERNEL_DEVICES:

    @torch.library.register_fake("maskrcnn_benchmark::pointwise_weight")
    def _(weight: Tensor) -> Tensor:
        outputs, channels, _height, _width = weight.shape
        return weight.new_empty((-(-outputs // COLUMNS), channels, COLUMNS))

    @torch.library.register_fake("maskrcnn_benchmark::pointwise_conv2d")
    def _(
        parts: Sequence[Tensor], weight: Tensor, bias: Tensor | None, out_channels: int, relu: bool
    ) -> Tensor:
        first = parts[0]
        shape = (first.shape[0], out_channels, *first.shape[2:])
        return torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=torch.channels_last)
