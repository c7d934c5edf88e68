"""A convolution by oneDNN, fused with the sum and ReLU after it, for inference on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.cpu_inference.method import ConvShape, accumulates, add_relu_


@dataclass(frozen=True)
class OneDnn:
    """A `Method`: oneDNN's convolution in float32, or in bfloat16 where it supports that."""

    def fits(self, parts: Sequence[Tensor], conv: ConvShape, dtype: torch.dtype, int16: bool) -> bool:
        """One map on the CPU, where torch uses oneDNN."""
        if len(parts) > 1 or parts[0].device.type != "cpu":
            return False
        if not (torch.backends.mkldnn.enabled and torch.backends.mkldnn.is_available()):
            return False
        if dtype == torch.bfloat16:
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return dtype == torch.float32

    def pack(self, weight: Tensor, parts: Sequence[Tensor], conv: ConvShape) -> Tensor:
        """In the blocks that oneDNN prefers for maps of this size; it takes other sizes too."""
        shape = list(parts[0].shape)
        return torch.ops.mkldnn._reorder_convolution_weight(weight.contiguous(), *_geometry(conv), shape)

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
        (x,) = parts
        if accumulates(residual, x.dtype):
            return torch.ops.mkldnn._convolution_pointwise_.binary(
                residual, x, weight, bias, *_geometry(conv), "add", 1.0, "relu" if relu else None, [], ""
            )
        fused = relu and residual is None
        unary = "relu" if fused else "none"
        out = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *_geometry(conv), unary, [], "")
        return out if fused else add_relu_(out, residual, relu)


def _geometry(conv: ConvShape) -> tuple[Any, ...]:
    return conv.padding, conv.stride, conv.dilation, conv.groups
