"""A convolution together with what follows it: frozen norm, sum, ReLU.

`fused_conv2d` gives the numbers of the separate layers with less work and less memory. A frozen norm becomes
part of the weight, so that training keeps no norm output. At inference (gradients off, module in eval mode)
the folded weight is prepared once, and on a CPU convolution and ReLU, mostly the sum too, are one pass: by
Winograd's method (3x3 of stride 1), else by oneDNN, or, in 16-bit integers, by our own matrix product.
`fused_concat_conv2d` does the same for a 1x1 convolution over a concatenation, which on a CPU in float32 is
not made.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers.cpu_inference.implicit_gemm import (
    Geometry,
    fits_implicit_gemm,
    implicit_gemm_conv2d,
    implicit_gemm_conv2d_add_,
    implicit_gemm_weight,
)
from maskrcnn_benchmark.layers.cpu_inference.int16 import multiplies_int16
from maskrcnn_benchmark.layers.cpu_inference.prepared import (
    Form,
    Method,
    Prepared,
    PreparesWeight,
    autocast_dtype,
    prepare,
    runs_prepared,
)
from maskrcnn_benchmark.layers.cpu_inference.winograd import fits_winograd, winograd_conv2d, winograd_weight
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d


class Conv2d(PreparesWeight, nn.Conv2d):
    """nn.Conv2d with room for its prepared weight."""


PLAIN = (Conv2d, nn.Conv2d)
# Norms whose output nobody else needs. One of another class may keep its output for backward.
IN_PLACE_AFTER = (nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def fused_conv2d(
    x: Tensor,
    conv: nn.Module,
    norm: nn.Module | None = None,
    relu: bool = False,
    residual: Tensor | None = None,
) -> Tensor:
    """relu(norm(conv(x)) + residual): x [N,C,H,W] -> [N,D,H',W'].

    A convolution of another class than `Conv2d` or nn.Conv2d runs layer by layer. `residual` [N,D,H',W'] is
    consumed: with gradients off, its memory may become the result's.
    """
    if not isinstance(conv, nn.Conv2d) or type(conv) not in PLAIN:
        return _run_layers(x, conv, norm, relu, residual)
    assert conv.padding_mode == "zeros" and not isinstance(conv.padding, str), "only zero padding is fused"
    if isinstance(conv, Conv2d) and runs_prepared(x, conv):
        return _run_prepared(x, conv, norm, relu, residual)
    return finish_conv(_plain_conv2d(x, conv, *fold_norm(conv, norm)), norm, relu, residual)


def fused_concat_conv2d(
    parts: Sequence[Tensor], conv: nn.Conv2d, norm: nn.Module | None = None, relu: bool = False
) -> Tensor:
    """relu(norm(conv(cat(parts, 1)))), with a 1x1 convolution: parts [N,Ci,H,W] -> [N,D,H,W]."""
    if isinstance(conv, Conv2d) and runs_prepared(parts[0], conv) and _runs_unjoined(parts, conv):
        made = _prepared(parts[0], conv, norm, "implicit_gemm")
        return _run_implicit_gemm(parts, made, conv, norm, relu, None)
    return fused_conv2d(torch.cat(list(parts), 1), conv, norm, relu)


def fold_norm(conv: nn.Conv2d, norm: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    """The convolution's weight and bias, with the norm's affine map in them where the norm is frozen."""
    if not isinstance(norm, FrozenBatchNorm2d):
        return conv.weight, conv.bias
    scale, shift = norm.scale_shift()
    return conv.weight * scale.view(-1, 1, 1, 1), shift if conv.bias is None else shift + conv.bias * scale


def _plain_conv2d(x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def _run_layers(
    x: Tensor, conv: nn.Module, norm: nn.Module | None, relu: bool, residual: Tensor | None
) -> Tensor:
    """The same with layers of any class, none of whose outputs is written over."""
    out: Tensor = conv(x) if norm is None else norm(conv(x))
    if residual is not None:
        out = out + residual
    return out.relu() if relu else out


def finish_conv(out: Tensor, norm: nn.Module | None, relu: bool, residual: Tensor | None) -> Tensor:
    """Norm that could not be folded, sum and ReLU; the last two in place where autograd surely allows it."""
    if norm is not None and not isinstance(norm, FrozenBatchNorm2d):
        out = norm(out)
        if not isinstance(norm, IN_PLACE_AFTER):
            out = out if residual is None else out + residual
            return out.relu() if relu else out
    if residual is not None:
        out = out.add_(residual)
    return out.relu_() if relu else out


def _prepared(x: Tensor, conv: Conv2d, norm: nn.Module | None, method: Method) -> Prepared:
    """What `conv` has prepared for inputs like x."""
    dtype = _compute_dtype(x, conv)
    int16 = method in ("winograd", "implicit_gemm") and multiplies_int16(conv, x.device, dtype)
    frozen = tuple(norm.buffers()) if isinstance(norm, FrozenBatchNorm2d) else ()
    sources = (conv.weight, *(() if conv.bias is None else (conv.bias,)), *frozen)

    def make() -> tuple[Tensor, Tensor | None]:
        weight, bias = (None if part is None else part.detach().to(dtype) for part in fold_norm(conv, norm))
        assert weight is not None
        if method == "winograd":
            return winograd_weight(weight, int16), bias
        if method == "implicit_gemm":
            return implicit_gemm_weight(weight, int16), bias
        if method == "torch":
            return weight.contiguous(memory_format=torch.channels_last), bias
        geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        weight = weight.contiguous()
        return torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, list(x.shape)), bias

    return prepare(conv, sources, Form(method, dtype, int16), make)


def _compute_dtype(x: Tensor, conv: Conv2d) -> torch.dtype:
    return autocast_dtype(x) or conv.weight.dtype


def _runs_unjoined(parts: Sequence[Tensor], conv: Conv2d) -> bool:
    """Whether `conv` runs over these parts without their concatenation."""
    return (
        all(part.device.type == "cpu" and part.dtype == torch.float32 for part in parts)
        and _compute_dtype(parts[0], conv) == torch.float32
        and fits_implicit_gemm(parts, conv)
    )


def _choose_method(x: Tensor, conv: Conv2d) -> Method:
    """The fastest way to run `conv` on x's device in its type."""
    dtype = _compute_dtype(x, conv)
    if x.device.type == "cpu" and dtype == torch.float32 and fits_winograd(conv):
        return "winograd"
    if multiplies_int16(conv, x.device, dtype) and fits_implicit_gemm([x], conv):
        return "implicit_gemm"
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
    x = x.to(made.form.dtype)
    if made.form.method == "torch":
        return finish_conv(_plain_conv2d(x, conv, made.weight, made.bias), norm, relu, residual)
    if made.form.method == "implicit_gemm":
        return _run_implicit_gemm([x], made, conv, norm, relu, residual)
    fused_norm = _is_folded(norm)
    fused_relu = relu and fused_norm and residual is None
    if made.form.method == "winograd":
        out = winograd_conv2d(x, made.weight, made.bias, conv.out_channels, fused_relu)
        return out if fused_relu else finish_conv(out, norm, relu, residual)
    geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
    if fused_norm and residual is not None and _accumulates(residual, made.form.dtype):
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            residual, x, made.weight, made.bias, *geometry, "add", 1.0, "relu" if relu else None, [], ""
        )
    unary = "relu" if fused_relu else "none"
    out = torch.ops.mkldnn._convolution_pointwise(x, made.weight, made.bias, *geometry, unary, [], "")
    return out if fused_relu else finish_conv(out, norm, relu, residual)


def _run_implicit_gemm(
    parts: Sequence[Tensor],
    made: Prepared,
    conv: Conv2d,
    norm: nn.Module | None,
    relu: bool,
    residual: Tensor | None,
) -> Tensor:
    geometry, fused_norm = Geometry.of(conv), _is_folded(norm)
    if fused_norm and residual is not None and _accumulates(residual, made.form.dtype):
        return implicit_gemm_conv2d_add_(residual, parts, made.weight, made.bias, geometry, relu)
    fused_relu = relu and fused_norm and residual is None
    out = implicit_gemm_conv2d(parts, made.weight, made.bias, conv.out_channels, geometry, fused_relu)
    return out if fused_relu else finish_conv(out, norm, relu, residual)


def _is_folded(norm: nn.Module | None) -> bool:
    """Whether nothing of the norm is left to do after the convolution."""
    return norm is None or isinstance(norm, FrozenBatchNorm2d)


def _accumulates(residual: Tensor, dtype: torch.dtype) -> bool:
    """Whether the convolution can write its sum into `residual`."""
    return residual.dtype == dtype and residual.is_contiguous(memory_format=torch.channels_last)
