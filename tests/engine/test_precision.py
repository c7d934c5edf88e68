"""What DTYPE comes to on this and other devices, and how a model runs in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.engine import precision
from maskrcnn_benchmark.engine.precision import (
    FLOAT32,
    Precision,
    resolve_precision,
    running_in,
    set_precision,
)
from maskrcnn_benchmark.layers.conv_norm import Conv2d
from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS
from maskrcnn_benchmark.layers.linear import Linear

CPU, GPU = torch.device("cpu"), torch.device("cuda")
HALF = ["bfloat16", "float16"]
INTEGERS = Precision(int16=True)


@pytest.fixture
def cpu_without_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "HAS_INT16_PRODUCTS", True)
    monkeypatch.setattr(precision, "cpu_computes", lambda dtype: False)


def make_model() -> nn.Sequential:
    return nn.Sequential(Conv2d(3, 16, 1), nn.ReLU(), nn.Sequential(Linear(16, 16))).eval()


def layers_in_integers(model: nn.Sequential) -> list[bool]:
    return [layer.int16 for layer in model.modules() if isinstance(layer, (Conv2d, Linear))]


@pytest.mark.parametrize("name", HALF)
def test_a_cpu_without_half_precision_takes_integers_at_inference(name: str, cpu_without_half: None) -> None:
    found = resolve_precision(name, CPU, training=False)
    assert found == INTEGERS and str(found) == "16-bit integers"
    assert resolve_precision(name, CPU, training=True) == FLOAT32


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("training", [True, False])
def test_a_cpu_with_half_precision_takes_that(
    name: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "HAS_INT16_PRODUCTS", True)
    monkeypatch.setattr(precision, "cpu_computes", lambda dtype: True)
    found = resolve_precision(name, CPU, training)
    assert found == Precision(getattr(torch, name)) and str(found) == name


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"bf16": True}, torch.bfloat16),
        ({}, torch.bfloat16),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_needs_a_processor_with_it(
    training: bool,
    capabilities: dict[str, bool],
    expected: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(precision, "HAS_INT16_PRODUCTS", False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert resolve_precision("bfloat16", CPU, training) == Precision(expected)
    assert ("no instructions" in caplog.text) == (expected == torch.float32)


@pytest.mark.parametrize("training", [True, False])
def test_float32_and_gpus_are_left_alone(training: bool, cpu_without_half: None) -> None:
    assert resolve_precision("float32", CPU, training) == FLOAT32 and str(FLOAT32) == "float32"
    for name in HALF:
        found = resolve_precision(name, GPU, training)
        assert found == Precision(getattr(torch, name)) and str(found) == name


@torch.no_grad()
def test_layers_multiply_integers_where_the_cpu_does() -> None:
    torch.manual_seed(0)
    layer, x = Linear(16, 16).eval(), torch.randn(8, 16)
    plain = layer(x)
    with running_in(layer, INTEGERS, CPU):
        assert layer(x).equal(plain) != HAS_INT16_PRODUCTS
        torch.testing.assert_close(layer(x), plain, rtol=0, atol=5e-3)
    assert layer(x).equal(plain)


def test_the_innermost_precision_counts() -> None:
    model = make_model()
    with torch.autocast("cpu", torch.bfloat16):
        for inner in (FLOAT32, INTEGERS):
            with running_in(model, inner, CPU):
                assert not torch.is_autocast_enabled("cpu")
                assert layers_in_integers(model) == [inner.int16] * 2
        assert torch.is_autocast_enabled("cpu")
    with running_in(model, INTEGERS, CPU):
        with running_in(model, Precision(torch.bfloat16), CPU):
            assert torch.get_autocast_dtype("cpu") == torch.bfloat16 and torch.is_autocast_enabled("cpu")
            assert layers_in_integers(model) == [False, False]
        assert layers_in_integers(model) == [True, True] and not torch.is_autocast_enabled("cpu")
    assert layers_in_integers(model) == [False, False]


def test_every_layer_is_as_before_also_after_an_error() -> None:
    model = make_model()
    set_precision(model[0], INTEGERS)
    with pytest.raises(KeyError), running_in(model, INTEGERS, CPU):
        assert layers_in_integers(model) == [True, True]
        raise KeyError
    assert layers_in_integers(model) == [True, False]
    with pytest.raises(KeyError), running_in(model, Precision(torch.bfloat16), CPU):
        assert layers_in_integers(model) == [False, False]
        raise KeyError
    assert layers_in_integers(model) == [True, False] and not torch.is_autocast_enabled("cpu")


def test_threads_share_a_model_whose_precision_is_set() -> None:
    """One leaves while the other still computes: the layers stay as they were set."""
    model, both = make_model(), Barrier(2, timeout=30)
    set_precision(model, INTEGERS)

    def call(stays: bool) -> list[bool]:
        with running_in(model, INTEGERS, CPU):
            both.wait()
            if stays:
                both.wait()
            found = layers_in_integers(model)
        if not stays:
            both.wait()
        return found

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(call, [True, False])) == [[True, True], [True, True]]
    assert layers_in_integers(model) == [True, True]


def test_another_model_is_left_alone() -> None:
    model, other = make_model(), make_model()
    with running_in(model, INTEGERS, CPU):
        assert layers_in_integers(other) == [False, False]
