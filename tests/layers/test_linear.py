"""Fully connected layers by the implicit GEMM, in float32, which every processor with AVX2 has."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers import linear as linear_layers
from maskrcnn_benchmark.layers.cpu_inference.implicit_gemm import ImplicitGemm
from maskrcnn_benchmark.layers.cpu_inference.packed_weight import COLUMNS
from maskrcnn_benchmark.layers.linear import ConvTranspose2d, Linear, fused_linear

METHOD = ImplicitGemm()


@pytest.fixture(autouse=True)
def _float32_products(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    monkeypatch.setattr(linear_layers, "INTEGERS", METHOD)


def asked(layer: Linear | ConvTranspose2d) -> Linear | ConvTranspose2d:
    """The layer in evaluation mode, set to multiply integers."""
    layer.int16 = True
    return layer.eval()


@pytest.mark.skipif(COLUMNS == 0, reason="needs AVX2")
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(7, 48), (2, 5, 48)])
def test_the_method_gives_the_product(shape: tuple[int, ...], relu: bool) -> None:
    layer, x = asked(Linear(48, 32)), torch.randn(shape)
    with torch.no_grad():
        got = fused_linear(x, layer, lambda: (layer.weight, layer.bias), relu)
        want = F.linear(x.double(), layer.weight.double(), layer.bias.double())  # type: ignore[union-attr]
    assert layer.prepared is not None and layer.prepared.form.method == METHOD
    torch.testing.assert_close(got.double(), want.relu() if relu else want, rtol=0, atol=1e-5)


@pytest.mark.skipif(COLUMNS == 0, reason="needs AVX2")
def test_rows_of_a_transposed_convolution() -> None:
    layer, x = asked(ConvTranspose2d(32, 8, 2, 2)), torch.randn(3, 32, 1, 1)

    def matrix() -> tuple[Tensor, Tensor | None]:
        return layer.weight.permute(0, 2, 3, 1).flatten(1).t(), layer.bias.repeat(4)  # type: ignore[union-attr]

    with torch.no_grad():
        got = fused_linear(x.flatten(1), layer, matrix)
        want = layer(x).permute(0, 2, 3, 1).flatten(1)
    assert layer.prepared is not None
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (Linear(48, 30), torch.ones(4, 48)),
        (Linear(40, 32), torch.ones(4, 40)),
        (Linear(48, 32).double(), torch.ones(4, 48).double()),
        (Linear(48, 32), torch.ones(0, 48)),
        (Linear(48, 32).to("meta"), torch.ones(4, 48, device="meta")),
    ],
    ids=["outputs", "inputs", "float64", "empty", "another device"],
)
def test_what_does_not_fit_is_torchs(layer: Linear, x: Tensor) -> None:
    with torch.no_grad():
        got = asked(layer)(x)
    assert layer.prepared is None
    assert got.shape == (len(x), layer.out_features) and got.dtype == x.dtype


def test_not_asked_for_not_prepared() -> None:
    layer = Linear(48, 32).eval()
    with torch.no_grad():
        layer(torch.randn(4, 48))
    assert layer.prepared is None


def test_under_autocast_and_with_gradients_it_is_torchs() -> None:
    layer, x = asked(Linear(48, 32)), torch.randn(4, 48)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    layer(x).sum().backward()
    assert layer.prepared is None and layer.weight.grad is not None
