"""Fully connected layers, which multiply 16-bit integers where they are set to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers.cpu_inference.implicit_gemm import (
    POINTWISE,
    ImplicitGemm,
    implicit_gemm_conv2d,
    implicit_gemm_weight,
)
from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS
from maskrcnn_benchmark.layers.cpu_inference.packed_weight import CHANNEL_BLOCK
from maskrcnn_benchmark.layers.cpu_inference.prepared import (
    Form,
    PreparesWeight,
    autocast_dtype,
    prepare,
    runs_prepared,
)


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
    if not _multiplies_int16(x, layer):
        out = F.linear(x, *matrix())
        return F.relu(out, inplace=True) if relu else out

    def make() -> tuple[Tensor, Tensor | None]:
        weight, bias = matrix()
        return implicit_gemm_weight(weight[:, :, None, None], int16=True), bias

    sources = (layer.weight,) if layer.bias is None else (layer.weight, layer.bias)
    made = prepare(layer, sources, Form(ImplicitGemm(int16=True), x.dtype), make)
    pixels = x.reshape(-1, x.shape[-1], 1, 1)
    out = implicit_gemm_conv2d([pixels], made.weight, made.bias, _outputs(layer), POINTWISE, relu)
    return out.view(*x.shape[:-1], -1)


def _multiplies_int16(x: Tensor, layer: Linear | ConvTranspose2d) -> bool:
    if not (layer.int16 and HAS_INT16_PRODUCTS and runs_prepared(x, layer)):
        return False
    if x.device.type != "cpu" or (autocast_dtype(x) or x.dtype) != torch.float32:
        return False
    return x.shape[-1] % CHANNEL_BLOCK == 0 and _outputs(layer) % CHANNEL_BLOCK == 0


def _outputs(layer: Linear | ConvTranspose2d) -> int:
    """Rows of the layer's matrix."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    height, width = layer.kernel_size
    return layer.out_channels * height * width
