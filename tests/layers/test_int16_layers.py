"""Layers that multiply 16-bit integers where they are asked to."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.conv_norm import Conv2d, fused_concat_conv2d, fused_conv2d
from maskrcnn_benchmark.layers.cpu_inference.implicit_gemm import ImplicitGemm
from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS
from maskrcnn_benchmark.layers.cpu_inference.method import Method
from maskrcnn_benchmark.layers.cpu_inference.onednn import OneDnn
from maskrcnn_benchmark.layers.cpu_inference.prepared import PreparesWeight
from maskrcnn_benchmark.layers.cpu_inference.winograd import Winograd
from maskrcnn_benchmark.layers.linear import ConvTranspose2d, Linear, fused_linear
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d


@contextmanager
def integers(*layers: PreparesWeight) -> Iterator[None]:
    """The layers multiply 16-bit integers."""
    for layer in layers:
        layer.int16 = True
    yield
    for layer in layers:
        layer.int16 = False


pytestmark = pytest.mark.skipif(not HAS_INT16_PRODUCTS, reason="needs AVX-512 VNNI")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(9)


LAYERS: list[tuple[Method, Callable[[], Conv2d]]] = [
    (ImplicitGemm(int16=True), lambda: Conv2d(32, 48, 1, bias=False)),
    (Winograd(int16=True), lambda: Conv2d(32, 48, 3, padding=1)),
    (ImplicitGemm(int16=True), lambda: Conv2d(32, 48, 3, stride=2, padding=1)),
    (OneDnn(), lambda: Conv2d(32, 48, 3, padding=1, groups=2)),
]


@pytest.mark.parametrize(("method", "make"), LAYERS)
@pytest.mark.parametrize("with_residual", [False, True])
def test_convolutions_take_it_where_asked_to(
    method: Method, make: Callable[[], Conv2d], with_residual: bool
) -> None:
    conv, norm = make().eval(), FrozenBatchNorm2d(48)
    norm.weight.uniform_(0.5, 2)
    x = torch.randn(2, 32, 9, 12).to(memory_format=torch.channels_last)

    def run() -> Tensor:
        torch.manual_seed(1)
        residual = torch.randn_like(conv(x)) if with_residual else None
        return fused_conv2d(x, conv, norm, relu=True, residual=residual)

    with torch.no_grad():
        plain = run()
        assert conv.prepared is not None and conv.prepared.form.method in (Winograd(), OneDnn())
        with integers(conv):
            got = run()
            assert conv.prepared is not None
            assert conv.prepared.form.method == method
        assert run().equal(plain)
    assert got.equal(plain) == (method == OneDnn())
    torch.testing.assert_close(got, plain, rtol=0, atol=0.02)
    with integers(conv):  # something to differentiate
        assert torch.allclose(run(), plain, rtol=0, atol=1e-4)


def test_a_concatenation_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = Conv2d(48, 32, 1).eval()
    parts = [torch.randn(2, channels, 5, 4).to(memory_format=torch.channels_last) for channels in (32, 16)]
    with torch.no_grad(), integers(conv):
        want = conv(torch.cat(parts, 1))
        monkeypatch.delattr(torch, "cat")
        torch.testing.assert_close(fused_concat_conv2d(parts, conv), want, rtol=0, atol=1e-3)
    assert conv.prepared is not None and conv.prepared.form.method == ImplicitGemm(int16=True)


def test_fully_connected_layers_take_it_where_asked_to() -> None:
    torch.manual_seed(0)
    linear, odd = Linear(64, 32).eval(), Linear(64, 30).eval()
    x = torch.randn(7, 64)
    with torch.no_grad():
        plain = linear(x)
        assert plain.equal(nn.functional.linear(x, linear.weight, linear.bias))
        with integers(linear, odd):
            got = linear(x)
            assert odd(x).equal(nn.functional.linear(x, odd.weight, odd.bias))
            assert linear(x[None]).equal(got[None])
            linear.weight.mul_(2)  # what was prepared follows its source
            torch.testing.assert_close(linear(x) - linear.bias, 2 * (got - linear.bias), rtol=0, atol=1e-4)
    assert not got.equal(plain)
    torch.testing.assert_close(got, plain, rtol=0, atol=5e-3)
    with integers(linear, odd):
        linear(x).sum().backward()
    assert linear.weight.grad is not None
    assert set(linear.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize("make", [lambda: Linear(48, 64), lambda: ConvTranspose2d(48, 16, 2, 2)])
def test_what_was_prepared_stays_out_of_copies(make: Callable[[], Linear | ConvTranspose2d]) -> None:
    layer = make().eval()
    x = torch.randn(5, 48)

    def matrix() -> tuple[Tensor, Tensor | None]:
        if isinstance(layer, Linear):
            return layer.weight, layer.bias
        return layer.weight.permute(0, 2, 3, 1).flatten(1).t(), layer.bias.repeat(4)  # type: ignore[union-attr]

    with torch.no_grad(), integers(layer):
        first = fused_linear(x, layer, matrix, relu=True)
        assert layer.prepared is not None and layer.prepared.form.method == ImplicitGemm(int16=True)
        assert copy.deepcopy(layer).prepared is None
        assert pickle.loads(pickle.dumps(layer)).prepared is None
        layer.bias.add_(100)  # type: ignore[union-attr]
        assert (fused_linear(x, layer, matrix, relu=True) - first).min() > 90
        layer.bias.data.sub_(100)  # type: ignore[union-attr]
        torch.testing.assert_close(fused_linear(x, layer, matrix, relu=True), first)
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_rows_of_any_layout_are_taken() -> None:
    linear = Linear(48, 32).eval()
    x = torch.randn(48, 6, 5)
    with torch.no_grad(), integers(linear):
        got = linear(x.permute(2, 1, 0))
        assert got.shape == (5, 6, 32)
        torch.testing.assert_close(got, linear(x.permute(2, 1, 0).contiguous()), rtol=0, atol=0)
        assert linear(torch.randn(0, 48)).shape == (0, 32)


def test_compiled_it_is_one_graph_in_float32() -> None:
    linear, x = Linear(32, 32).eval(), torch.randn(4, 32)
    compiled = torch.compile(linear, fullgraph=True, backend="eager")
    with torch.no_grad():
        plain = linear(x)
        linear.int16 = True
        assert compiled(x).equal(plain)
