"""A convolution together with what follows it: frozen norm, sum, ReLU.

`fused_conv2d` gives the numbers of the separate layers with less work and less memory. A frozen norm becomes
part of the weight, so that training keeps no norm output. At inference (gradients off, module in eval mode)
the folded weight is prepared once, and on a CPU Winograd's method (3x3, float32) or oneDNN runs convolution
and ReLU in one pass, oneDNN the sum too. `fused_concat_conv2d` does the same for a 1x1 convolution over a
concatenation, which on a CPU in float32 is not made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d
from maskrcnn_benchmark.layers.pointwise import fits_pointwise, pointwise_conv2d, pointwise_weight
from maskrcnn_benchmark.layers.winograd import fits_winograd, winograd_conv2d, winograd_weight

Method = Literal["winograd", "pointwise", "onednn", "torch"]
Sources = tuple[Tensor, ...]
Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PreparedConv:
    """A convolution's weight and bias with the norm folded in, in the type and layout that `method` takes.

    `sources` are the tensors it was made from and `stamp` their state then. The sources are held so that
    their memory cannot be reused, which would make two states look the same.
    """

    weight: Tensor
    bias: Tensor | None
    method: Method
    dtype: torch.dtype
    sources: Sources
    stamp: Stamp


class Conv2d(nn.Conv2d):
    """nn.Conv2d with room for its `PreparedConv`, which is no part of state dicts, copies or pickles.

    What was prepared is renewed after any change that PyTorch counts (optimizer steps, load_state_dict,
    `.to`, copy_) and dropped by `train()` and `eval()`. Writing through `weight.data` is not counted: call
    `eval()` after it.
    """

    prepared: PreparedConv | None = None

    def train(self, mode: bool = True) -> Conv2d:
        self.prepared = None
        super().train(mode)
        return self

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "prepared": None}


def fused_conv2d(
    x: Tensor,
    conv: nn.Conv2d,
    norm: nn.Module | None = None,
    relu: bool = False,
    residual: Tensor | None = None,
) -> Tensor:
    """relu(norm(conv(x)) + residual): x [N,C,H,W] -> [N,D,H',W'].

    `residual` [N,D,H',W'] is consumed: with gradients off, its memory may become the result's.
    """
    assert conv.padding_mode == "zeros" and not isinstance(conv.padding, str), "only zero padding is fused"
    if isinstance(conv, Conv2d) and _prepares(x, conv):
        return _run_prepared(x, conv, norm, relu, residual)
    return finish_conv(_plain_conv2d(x, conv, *fold_norm(conv, norm)), norm, relu, residual)


def fused_concat_conv2d(
    parts: Sequence[Tensor], conv: nn.Conv2d, norm: nn.Module | None = None, relu: bool = False
) -> Tensor:
    """relu(norm(conv(cat(parts, 1)))), with a 1x1 convolution: parts [N,Ci,H,W] -> [N,D,H,W]."""
    if isinstance(conv, Conv2d) and _prepares(parts[0], conv) and _fits_pointwise(parts, conv):
        made = _prepared(parts[0], conv, norm, "pointwise")
        fused_relu = relu and _is_folded(norm)
        out = pointwise_conv2d(parts, made.weight, made.bias, conv.out_channels, fused_relu)
        return out if fused_relu else finish_conv(out, norm, relu, None)
    return fused_conv2d(torch.cat(list(parts), 1), conv, norm, relu)


def fold_norm(conv: nn.Conv2d, norm: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    """The convolution's weight and bias, with the norm's affine map in them where the norm is frozen."""
    if not isinstance(norm, FrozenBatchNorm2d):
        return conv.weight, conv.bias
    scale, shift = norm.scale_shift()
    return conv.weight * scale.view(-1, 1, 1, 1), shift if conv.bias is None else shift + conv.bias * scale


def autocast_dtype(tensor: Tensor) -> torch.dtype | None:
    """The type that autocast computes in on the tensor's device; None where it is off (always on meta)."""
    device = tensor.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def _plain_conv2d(x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def finish_conv(out: Tensor, norm: nn.Module | None, relu: bool, residual: Tensor | None) -> Tensor:
    """Norm that could not be folded, sum and ReLU; the last two in place, which autograd allows here."""
    if norm is not None and not isinstance(norm, FrozenBatchNorm2d):
        out = norm(out)
    if residual is not None:
        out = out.add_(residual)
    return out.relu_() if relu else out


def _prepares(x: Tensor, conv: Conv2d) -> bool:
    """Whether this call is plain inference: nothing to differentiate or compile, and something to compute."""
    if torch.is_grad_enabled() or conv.training or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return (
        type(x) is Tensor
        and type(conv.weight) is nn.Parameter
        and not conv.weight.is_inference()  # such tensors do not count their changes
        and x.numel() > 0
    )


def _prepared(x: Tensor, conv: Conv2d, norm: nn.Module | None, method: Method) -> PreparedConv:
    """What `conv` has prepared for inputs like x, renewed where method, type or a source has changed."""
    dtype = _compute_dtype(x, conv)
    frozen = tuple(norm.buffers()) if isinstance(norm, FrozenBatchNorm2d) else ()
    sources = (conv.weight, *(() if conv.bias is None else (conv.bias,)), *frozen)
    stamp = tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in sources)
    old = conv.prepared
    if old is not None and (old.stamp, old.dtype, old.method) == (stamp, dtype, method):
        return old
    weight, bias = (None if part is None else part.detach().to(dtype) for part in fold_norm(conv, norm))
    assert weight is not None
    if method == "winograd":
        weight = winograd_weight(weight)
    elif method == "pointwise":
        weight = pointwise_weight(weight)
    elif method == "onednn":
        weight = torch.ops.mkldnn._reorder_convolution_weight(
            weight.contiguous(), conv.padding, conv.stride, conv.dilation, conv.groups, list(x.shape)
        )
    else:
        weight = weight.contiguous(memory_format=torch.channels_last)
    conv.prepared = PreparedConv(weight, bias, method, dtype, tuple(part.detach() for part in sources), stamp)
    return conv.prepared


def _compute_dtype(x: Tensor, conv: Conv2d) -> torch.dtype:
    return autocast_dtype(x) or conv.weight.dtype


def _fits_pointwise(parts: Sequence[Tensor], conv: Conv2d) -> bool:
    """Whether `conv` runs over these parts without their concatenation."""
    return (
        all(part.device.type == "cpu" and part.dtype == torch.float32 for part in parts)
        and _compute_dtype(parts[0], conv) == torch.float32
        and fits_pointwise(parts, conv)
    )


def _choose_method(x: Tensor, conv: Conv2d) -> Method:
    """The fastest way to run `conv` on x's device in its type."""
    dtype = _compute_dtype(x, conv)
    if x.device.type == "cpu" and dtype == torch.float32 and fits_winograd(conv):
        return "winograd"
    return "onednn" if _fits_onednn(x, dtype) else "torch"


def _fits_onednn(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether oneDNN's fused convolution serves this device and type."""
    if x.device.type != "cpu" or not (torch.backends.mkldnn.enabled and torch.backends.mkldnn.is_available()):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def _run_prepared(
    x: Tensor, conv: Conv2d, norm: nn.Module | None, relu: bool, residual: Tensor | None
) -> Tensor:
    made = _prepared(x, conv, norm, _choose_method(x, conv))
    x = x.to(made.dtype)
    if made.method == "torch":
        return finish_conv(_plain_conv2d(x, conv, made.weight, made.bias), norm, relu, residual)
    fused_norm = _is_folded(norm)
    fused_relu = relu and fused_norm and residual is None
    if made.method == "winograd":
        out = winograd_conv2d(x, made.weight, made.bias, conv.out_channels, fused_relu)
        return out if fused_relu else finish_conv(out, norm, relu, residual)
    geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
    if fused_norm and residual is not None and _accumulates(residual, made.dtype):
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            residual, x, made.weight, made.bias, *geometry, "add", 1.0, "relu" if relu else None, [], ""
        )
    unary = "relu" if fused_relu else "none"
    out = torch.ops.mkldnn._convolution_pointwise(x, made.weight, made.bias, *geometry, unary, [], "")
    return out if fused_relu else finish_conv(out, norm, relu, residual)


def _is_folded(norm: nn.Module | None) -> bool:
    """Whether nothing of the norm is left to do after the convolution."""
    return norm is None or isinstance(norm, FrozenBatchNorm2d)


def _accumulates(residual: Tensor, dtype: torch.dtype) -> bool:
    """Whether the convolution can write its sum into `residual`."""
    return residual.dtype == dtype and residual.is_contiguous(memory_format=torch.channels_last)
