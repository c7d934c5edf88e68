"""What every way to run a convolution at inference has, and the way that fits always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class ConvShape(Protocol):
    """What a method reads of a convolution; every nn.Conv2d has it. Pairs are (y, x)."""

    @property
    def in_channels(self) -> int: ...
    @property
    def out_channels(self) -> int: ...
    @property
    def kernel_size(self) -> tuple[int, ...]: ...
    @property
    def stride(self) -> tuple[int, ...]: ...
    @property
    def padding(self) -> str | tuple[int, ...]: ...
    @property
    def dilation(self) -> tuple[int, ...]: ...
    @property
    def groups(self) -> int: ...


class Method(Protocol):
    """A way to run a convolution, over one map or over several that are taken as concatenated.

    Values of a class are equal where they take the same packed weight.
    """

    def fits(self, parts: Sequence[Tensor], conv: ConvShape, dtype: torch.dtype, int16: bool) -> bool:
        """Whether it serves `conv` over maps like `parts` [N,Ci,H,W] in `dtype` on this processor.

        int16: whether the layer is to multiply 16-bit integers where the processor does.
        """

    def pack(self, weight: Tensor, parts: Sequence[Tensor], conv: ConvShape) -> Tensor:
        """The weight [K,C,kh,kw] in the layout that `run` takes; `parts` are the first that come."""

    def run(
        self,
        parts: Sequence[Tensor],
        weight: Tensor,
        bias: Tensor | None,
        conv: ConvShape,
        relu: bool,
        residual: Tensor | None,
    ) -> Tensor:
        """relu(convolution + residual) [N,K,H',W'] in the dtype of `parts`; may write into `residual`.

        `weight` is packed; `conv` gives the geometry.
        """


@dataclass(frozen=True)
class Plain:
    """torch's own convolution: every device, dtype and geometry."""

    def fits(self, parts: Sequence[Tensor], conv: ConvShape, dtype: torch.dtype, int16: bool) -> bool:
        """Always for one map; never for several, which its caller concatenates first."""
        return len(parts) == 1

    def pack(self, weight: Tensor, parts: Sequence[Tensor], conv: ConvShape) -> Tensor:
        """The weight [K,C,kh,kw] in channels_last, which spares torch's kernels a copy at every call."""
        return weight.contiguous(memory_format=torch.channels_last)

    def run(
        self,
        parts: Sequence[Tensor],
        weight: Tensor,
        bias: Tensor | None,
        conv: ConvShape,
        relu: bool,
        residual: Tensor | None,
    ) -> Tensor:
        """relu(convolution + residual) [N,K,H',W']; sum and ReLU in place in the convolution's output."""
        out = F.conv2d(parts[0], weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        return add_relu_(out, residual, relu)


def add_relu_(out: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """relu(out + residual), written over `out` [N,K,H,W]; the sum and the ReLU only where asked for."""
    if residual is not None:
        out = out.add_(residual)
    return out.relu_() if relu else out


def accumulates(residual: Tensor | None, dtype: torch.dtype) -> bool:
    """Whether a kernel can add its output in `dtype` to `residual` in place: same dtype, channels_last."""
    if residual is None or residual.dtype != dtype:
        return False
    return residual.is_contiguous(memory_format=torch.channels_last)
