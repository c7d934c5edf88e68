"""What every way to run a convolution at inference has, and the way that fits always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Method(Protocol):
    """A way to run a convolution, over one map or over several that are taken as concatenated.

    Values of a class are equal where they take the same packed weight.
    """

    def fits(self, parts: Sequence[Tensor], conv: nn.Conv2d, dtype: torch.dtype, int16: bool) -> bool:
        """Whether it serves `conv` over maps like `parts` [N,Ci,H,W] in `dtype` on this processor.

        int16: whether the layer is to multiply 16-bit integers where the processor does.
        """

    def pack(self, weight: Tensor, parts: Sequence[Tensor], conv: nn.Conv2d) -> Tensor:
        """The weight [K,C,kh,kw] in the layout that `run` takes; `parts` are the first that come."""

    def run(
        self,
        parts: Sequence[Tensor],
        weight: Tensor,
        bias: Tensor | None,
        conv: nn.Conv2d,
        relu: bool,
        residual: Tensor | None,
    ) -> Tensor:
        """relu(convolution + residual) [N,K,H',W'] in the dtype of `parts`; may write into `residual`.

        `weight` is packed; `conv` gives the geometry.
        """


@dataclass(frozen=True)
class Plain:
    """torch's own convolution: every device, dtype and geometry."""

    def fits(self, parts: Sequence[Tensor], conv: nn.Conv2d, dtype: torch.dtype, int16: bool) -> bool:
        """One map."""
        return len(parts) == 1

    def pack(self, weight: Tensor, parts: Sequence[Tensor], conv: nn.Conv2d) -> Tensor:
        """In channels_last."""
        return weight.contiguous(memory_format=torch.channels_last)

    def run(
        self,
        parts: Sequence[Tensor],
        weight: Tensor,
        bias: Tensor | None,
        conv: nn.Conv2d,
        relu: bool,
        residual: Tensor | None,
    ) -> Tensor:
        """Convolution, sum, ReLU."""
        out = F.conv2d(parts[0], weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        return add_relu_(out, residual, relu)


def add_relu_(out: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """Sum and ReLU in place."""
    if residual is not None:
        out = out.add_(residual)
    return out.relu_() if relu else out


def accumulates(residual: Tensor | None, dtype: torch.dtype) -> bool:
    """Whether a convolution in `dtype` can write its sum into `residual`."""
    if residual is None or residual.dtype != dtype:
        return False
    return residual.is_contiguous(memory_format=torch.channels_last)
