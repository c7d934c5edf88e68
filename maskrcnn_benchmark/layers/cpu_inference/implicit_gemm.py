"""A convolution as an implicit GEMM, for inference on a CPU with float32 maps.

It is one matrix product over the output pixels, whose matrix of pixels is never made as a whole. The maps
may be several that are taken as concatenated: VoVNet's one-shot aggregation (Lee et al. 2019, "An Energy and
GPU-Computation Efficient Backbone Network for Real-Time Object Detection", section 4.1) ends in a 1x1
convolution of such. The kernel is csrc/cpu/implicit_gemm.cpp, for processors with AVX2 or AVX-512.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES
from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS
from maskrcnn_benchmark.layers.cpu_inference.method import ConvShape, accumulates, add_relu_
from maskrcnn_benchmark.layers.cpu_inference.packed_weight import CHANNEL_BLOCK, COLUMNS, new_packed_weight


class Geometry(NamedTuple):
    """How a convolution lies on its map: each (y, x)."""

    kernel_size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @staticmethod
    def of(conv: ConvShape) -> Geometry:
        """The kernel size, stride, padding and dilation of a convolution with padding in numbers."""
        assert not isinstance(conv.padding, str)
        numbers = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
        return Geometry(*((y, x) for y, x in numbers))

    def flat(self) -> list[int]:
        """The eight numbers in the fields' order, y before x, as the C++ operators take them."""
        return [number for pair in self for number in pair]


POINTWISE = Geometry()


def fits_implicit_gemm(parts: Sequence[Tensor], conv: ConvShape) -> bool:
    """Whether the kernel serves this convolution over these maps on this processor."""
    return (
        COLUMNS > 0
        and conv.groups == 1
        and conv.out_channels % CHANNEL_BLOCK == 0
        and all(part.shape[1] % CHANNEL_BLOCK == 0 for part in parts)
    )


def implicit_gemm_weight(weight: Tensor, int16: bool = False) -> Tensor:
    """The weight [K,C,H,W] (float32) as `implicit_gemm_conv2d` takes it, in an order that belongs to this
    processor; with `int16` for products of 16-bit integers (see layers/cpu_inference/int16.py)."""
    return torch.ops.maskrcnn_benchmark.implicit_gemm_weight(weight, int16)


def implicit_gemm_conv2d(
    parts: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    out_channels: int,
    geometry: Geometry = POINTWISE,
    relu: bool = False,
) -> Tensor:
    """conv2d(cat(parts, 1), weight, bias): parts [N,Ci,H,W] -> [N,out_channels,H',W'] float32, channels_last.

    weight: `implicit_gemm_weight` of the convolution's. The channels of each part are a multiple of 16.
    """
    maps = _channels_last(parts)
    return torch.ops.maskrcnn_benchmark.implicit_gemm_conv2d(
        maps, weight, bias, out_channels, geometry.flat(), relu
    )


def implicit_gemm_conv2d_add_(
    out: Tensor,
    parts: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry = POINTWISE,
    relu: bool = False,
) -> Tensor:
    """`out` (channels_last, [N,out_channels,H',W']) with `implicit_gemm_conv2d` added to it; with
    `relu`, cut at zero after that.

    No part may share memory with `out`.
    """
    maps = _channels_last(parts)
    torch.ops.maskrcnn_benchmark.implicit_gemm_conv2d_add_(out, maps, weight, bias, geometry.flat(), relu)
    return out


def _channels_last(parts: Sequence[Tensor]) -> list[Tensor]:
    return [part.contiguous(memory_format=torch.channels_last) for part in parts]


@dataclass(frozen=True)
class ImplicitGemm:
    """A `Method`: the implicit GEMM, over one map or over several that are taken as concatenated.

    int16: whether it multiplies 16-bit integers (see int16.py) or float32.
    """

    int16: bool = False

    def fits(self, parts: Sequence[Tensor], conv: ConvShape, dtype: torch.dtype, int16: bool) -> bool:
        """Whether the maps are float32 on the CPU, `dtype` too, and `fits_implicit_gemm` holds.

        With integers also whether the layer asks for them (`int16`) and the processor has their products.
        """
        if self.int16 and not (int16 and HAS_INT16_PRODUCTS):
            return False
        if dtype != torch.float32 or any(part.dtype != dtype or part.device.type != "cpu" for part in parts):
            return False
        return fits_implicit_gemm(parts, conv)

    def pack(self, weight: Tensor, parts: Sequence[Tensor], conv: ConvShape) -> Tensor:
        """The weight [K,C,kh,kw] in panels of output channels; see `implicit_gemm_weight`."""
        return implicit_gemm_weight(weight, self.int16)

    def run(
        self,
        parts: Sequence[Tensor],
        weight: Tensor,
        bias: Tensor | None,
        conv: ConvShape,
        relu: bool,
        residual: Tensor | None,
    ) -> Tensor:
        """One pass with the ReLU, and with the sum where `residual` can hold it."""
        geometry = Geometry.of(conv)
        if residual is not None and accumulates(residual, torch.float32):
            return implicit_gemm_conv2d_add_(residual, parts, weight, bias, geometry, relu)
        fused = relu and residual is None
        out = implicit_gemm_conv2d(parts, weight, bias, conv.out_channels, geometry, fused)
        return out if fused else add_relu_(out, residual, relu)


if KERNEL_DEVICES:

    @torch.library.register_fake("maskrcnn_benchmark::implicit_gemm_weight")
    def _(weight: Tensor, int16: bool) -> Tensor:
        return new_packed_weight(weight, 1, int16)

    @torch.library.register_fake("maskrcnn_benchmark::implicit_gemm_conv2d")
    def _(
        parts: Sequence[Tensor],
        weight: Tensor,
        bias: Tensor | None,
        out_channels: int,
        geometry: Sequence[int],
        relu: bool,
    ) -> Tensor:
        first = parts[0]
        sizes = [
            (first.shape[2 + i] + 2 * geometry[4 + i] - geometry[6 + i] * (geometry[i] - 1) - 1)
            // geometry[2 + i]
            + 1
            for i in range(2)
        ]
        shape = (first.shape[0], out_channels, *sizes)
        return torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=torch.channels_last)

    @torch.library.register_fake("maskrcnn_benchmark::implicit_gemm_conv2d_add_")
    def _(
        out: Tensor,
        parts: Sequence[Tensor],
        weight: Tensor,
        bias: Tensor | None,
        geometry: Sequence[int],
        relu: bool,
    ) -> None:
        return None
