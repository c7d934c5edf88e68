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

from maskrcnn_benchmark.layers.cpu_inference.implicit_gemm import ImplicitGemm
from maskrcnn_benchmark.layers.cpu_inference.method import Method, Plain, add_relu_
from maskrcnn_benchmark.layers.cpu_inference.onednn import OneDnn
from maskrcnn_benchmark.layers.cpu_inference.prepared import (
    Form,
    Prepared,
    PreparesWeight,
    autocast_dtype,
    prepare,
    runs_prepared,
)
from maskrcnn_benchmark.layers.cpu_inference.winograd import Winograd
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, GroupNorm


class Conv2d(PreparesWeight, nn.Conv2d):
    """nn.Conv2d with room for its prepared weight."""


PLAIN = (Conv2d, nn.Conv2d)
# How a convolution runs at inference, the first that fits; over parts, where none fits they are concatenated.
METHODS: tuple[Method, ...] = (
    *(Winograd(int16=True), Winograd(), ImplicitGemm(int16=True)),
    *(OneDnn(), Plain()),
)
METHODS_OF_PARTS: tuple[Method, ...] = (ImplicitGemm(int16=True), ImplicitGemm())
# Norms whose output nobody else needs. One of another class may keep its output for backward.
IN_PLACE_AFTER = (GroupNorm, nn.GroupNorm, nn.BatchNorm2d, nn.SyncBatchNorm)


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
        method = choose_method(METHODS, [x], conv)
        assert method is not None, "the last of METHODS fits always"
        return _run_prepared([x], conv, norm, relu, residual, method)
    return finish_conv(_plain_conv2d(x, conv, *fold_norm(conv, norm)), norm, relu, residual)


def fused_concat_conv2d(
    parts: Sequence[Tensor], conv: nn.Conv2d, norm: nn.Module | None = None, relu: bool = False
) -> Tensor:
    """relu(norm(conv(cat(parts, 1)))), with a 1x1 convolution: parts [N,Ci,H,W] -> [N,D,H,W]."""
    if isinstance(conv, Conv2d) and runs_prepared(parts[0], conv):
        method = choose_method(METHODS_OF_PARTS, parts, conv)
        if method is not None:
            return _run_prepared(parts, conv, norm, relu, None, method)
    return fused_conv2d(torch.cat(list(parts), 1), conv, norm, relu)


def fold_norm(conv: nn.Conv2d, norm: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    """The convolution's weight and bias, with the norm's affine map in them where the norm is frozen."""
    if norm is None or not is_folded(norm):
        return conv.weight, conv.bias
    assert isinstance(norm, FrozenBatchNorm2d)
    scale, shift = norm.scale_shift()
    return conv.weight * scale.view(-1, 1, 1, 1), shift if conv.bias is None else shift + conv.bias * scale


def _plain_conv2d(x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def _run_layers(
    x: Tensor, conv: nn.Module, norm: nn.Module | None, relu: bool, residual: Tensor | None
) -> Tensor:
    """`fused_conv2d` with layers of any class, none of whose outputs is written over."""
    return _add_relu(conv(x) if norm is None else norm(conv(x)), residual, relu)


def _add_relu(out: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    out = out if residual is None else out + residual
    return out.relu() if relu else out


def finish_conv(out: Tensor, norm: nn.Module | None, relu: bool, residual: Tensor | None) -> Tensor:
    """Norm that could not be folded, sum and ReLU; the last two in place where autograd surely allows it."""
    if norm is None or is_folded(norm):
        return add_relu_(out, residual, relu)
    finish = add_relu_ if type(norm) in IN_PLACE_AFTER else _add_relu
    return finish(norm(out), residual, relu)


def _run_prepared(
    parts: Sequence[Tensor],
    conv: Conv2d,
    norm: nn.Module | None,
    relu: bool,
    residual: Tensor | None,
    method: Method,
) -> Tensor:
    """`fused_conv2d` by a method, over maps that are taken as concatenated."""
    dtype = _dtype_of(parts[0], conv)
    made = _prepared(parts, conv, norm, Form(method, dtype))
    parts = [part.to(dtype) for part in parts]
    if norm is None or is_folded(norm):
        return method.run(parts, made.weight, made.bias, conv, relu, residual)
    return finish_conv(method.run(parts, made.weight, made.bias, conv, False, None), norm, relu, residual)


def _prepared(parts: Sequence[Tensor], conv: Conv2d, norm: nn.Module | None, form: Form) -> Prepared:
    """What `conv` has prepared in this form for inputs like the parts."""
    frozen = () if norm is None or not is_folded(norm) else tuple(norm.buffers())
    sources = (conv.weight, *(() if conv.bias is None else (conv.bias,)), *frozen)

    def make() -> tuple[Tensor, Tensor | None]:
        weight, bias = fold_norm(conv, norm)
        packed = form.method.pack(weight.detach().to(form.dtype), parts, conv)
        return packed, None if bias is None else bias.detach().to(form.dtype)

    return prepare(conv, sources, form, make)


def choose_method(methods: Sequence[Method], parts: Sequence[Tensor], conv: Conv2d) -> Method | None:
    """The first method that fits."""
    dtype = _dtype_of(parts[0], conv)
    for method in methods:
        if method.fits(parts, conv, dtype, conv.int16):
            return method
    return None


def _dtype_of(x: Tensor, conv: Conv2d) -> torch.dtype:
    return autocast_dtype(x) or conv.weight.dtype


def is_folded(norm: nn.Module) -> bool:
    """Whether the norm becomes part of the convolution's weight; one of a derived class may compute more."""
    return type(norm) is FrozenBatchNorm2d
