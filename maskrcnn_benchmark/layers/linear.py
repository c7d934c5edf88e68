"""Fully connected layers, which multiply 16-bit integers where they are set to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers.cpu_inference.implicit_gemm import ImplicitGemm
from maskrcnn_benchmark.layers.cpu_inference.method import Method
from maskrcnn_benchmark.layers.cpu_inference.prepared import (
    Form,
    PreparesWeight,
    autocast_dtype,
    prepare,
    runs_prepared,
)

INTEGERS: Method = ImplicitGemm(int16=True)


class Linear(PreparesWeight, nn.Linear):
    """nn.Linear that runs as `fused_linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in_features] -> [..., out_features]."""
        return fused_linear(x, self, lambda: (self.weight, self.bias))


class ConvTranspose2d(PreparesWeight, nn.ConvTranspose2d):
    """nn.ConvTranspose2d with room for its prepared weight."""


def fused_linear(
    x: Tensor,
    layer: Linear | ConvTranspose2d,
    matrix: Callable[[], tuple[Tensor, Tensor | None]],
    relu: bool = False,
) -> Tensor:
    """relu(x weight^T + bias): x [..., C] -> [..., K].

    matrix: gives weight [K, C] and bias [K] from the parameters of `layer`, which keeps what is prepared.
    """
    if layer.int16 and runs_prepared(x, layer):
        pixels = x.reshape(-1, x.shape[-1], 1, 1)
        shape = _Pointwise(x.shape[-1], _outputs(layer))
        dtype = autocast_dtype(x) or x.dtype
        if INTEGERS.fits([pixels], shape, dtype, layer.int16):

            def make() -> tuple[Tensor, Tensor | None]:
                weight, bias = matrix()
                return INTEGERS.pack(weight[:, :, None, None], [pixels], shape), bias

            sources = (layer.weight,) if layer.bias is None else (layer.weight, layer.bias)
            made = prepare(layer, sources, Form(INTEGERS, dtype), make)
            out = INTEGERS.run([pixels], made.weight, made.bias, shape, relu, None)
            return out.view(*x.shape[:-1], -1)
    out = F.linear(x, *matrix())
    return F.relu(out, inplace=True) if relu else out


@dataclass(frozen=True)
class _Pointwise:
    """The 1x1 convolution over single pixels that a fully connected layer is; a `ConvShape`."""

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


def _outputs(layer: Linear | ConvTranspose2d) -> int:
    """Rows of the layer's matrix."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    height, width = layer.kernel_size
    return layer.out_channels * height * width
