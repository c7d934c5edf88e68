"""A 3x3 convolution by Winograd's minimal filtering, for inference on a CPU with float32 maps.

F(4x4, 3x3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, takes a quarter
of the multiplications. The kernel is csrc/cpu/winograd.cpp, for processors with AVX2 or AVX-512.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES
from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS
from maskrcnn_benchmark.layers.cpu_inference.method import ConvShape, add_relu_
from maskrcnn_benchmark.layers.cpu_inference.packed_weight import CHANNEL_BLOCK, COLUMNS, new_packed_weight


def fits_winograd(conv: ConvShape) -> bool:
    """Whether the kernel serves this convolution on this processor."""
    return (
        COLUMNS > 0
        and conv.kernel_size == (3, 3)
        and conv.stride == (1, 1)
        and conv.padding == (1, 1)
        and conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.in_channels % CHANNEL_BLOCK == 0
        and conv.out_channels % CHANNEL_BLOCK == 0
    )


def winograd_weight(weight: Tensor, int16: bool = False) -> Tensor:
    """The filters [K,C,3,3] (float32) as `winograd_conv2d` takes them: four times as large, or with `int16`
    twice, for products of 16-bit integers (see int16.py); in an order that belongs to this processor.
    """
    return torch.ops.maskrcnn_benchmark.winograd_weight(weight, int16)


def winograd_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, out_channels: int, relu: bool = False
) -> Tensor:
    """conv2d(x, filters, bias, padding=1): x [N,C,H,W] -> [N,out_channels,H,W], channels_last, float32.

    weight: `winograd_weight` of the filters. The result's rounding error is about twice conv2d's; with 16-bit
    integers half of conv2d's in bfloat16. What is not finite in x makes the 4x4 tiles NaN that it reaches.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    return torch.ops.maskrcnn_benchmark.winograd_conv2d(x, weight, bias, out_channels, relu)


@dataclass(frozen=True)
class Winograd:
    """A `Method`: Winograd's F(4x4, 3x3), over one map.

    int16: whether it multiplies 16-bit integers (see int16.py) or float32.
    """

    int16: bool = False

    def fits(self, parts: Sequence[Tensor], conv: ConvShape, dtype: torch.dtype, int16: bool) -> bool:
        """Whether there is one map, on the CPU, `dtype` is float32, and `fits_winograd` holds.

        With integers also whether the layer asks for them (`int16`) and the processor has their products.
        """
        if self.int16 and not (int16 and HAS_INT16_PRODUCTS):
            return False
        on_cpu = len(parts) == 1 and parts[0].device.type == "cpu"
        return on_cpu and dtype == torch.float32 and fits_winograd(conv)

    def pack(self, weight: Tensor, parts: Sequence[Tensor], conv: ConvShape) -> Tensor:
        """The filters [K,C,3,3] transformed, in panels of output channels; see `winograd_weight`."""
        return winograd_weight(weight, self.int16)

    def run(
        self,
        parts: Sequence[Tensor],
        weight: Tensor,
        bias: Tensor | None,
        conv: ConvShape,
        relu: bool,
        residual: Tensor | None,
    ) -> Tensor:
        """One pass with the ReLU, where nothing is to be added."""
        fused = relu and residual is None
        out = winograd_conv2d(parts[0], weight, bias, conv.out_channels, fused)
        return out if fused else add_relu_(out, residual, relu)


if KERNEL_DEVICES:

    @torch.library.register_fake("maskrcnn_benchmark::winograd_weight")
    def _(weight: Tensor, int16: bool) -> Tensor:
        return new_packed_weight(weight, 36, int16)

    @torch.library.register_fake("maskrcnn_benchmark::winograd_conv2d")
    def _(x: Tensor, weight: Tensor, bias: Tensor | None, out_channels: int, relu: bool) -> Tensor:
        shape = (x.shape[0], out_channels, *x.shape[2:])
        return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
