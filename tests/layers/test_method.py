"""Which way a convolution takes at inference, on processors with and without the instructions for each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from maskrcnn_benchmark.layers.conv_norm import METHODS, METHODS_OF_PARTS, Conv2d, choose_method
from maskrcnn_benchmark.layers.cpu_inference import implicit_gemm, winograd
from maskrcnn_benchmark.layers.cpu_inference.implicit_gemm import ImplicitGemm
from maskrcnn_benchmark.layers.cpu_inference.method import Method, Plain
from maskrcnn_benchmark.layers.cpu_inference.onednn import OneDnn
from maskrcnn_benchmark.layers.cpu_inference.winograd import Winograd

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs a torch with oneDNN")
MAP = torch.zeros(1, 32, 8, 8)
CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "3x3": {"kernel_size": 3, "padding": 1},
    "3x3 of stride 2": {"kernel_size": 3, "padding": 1, "stride": 2},
    "1x1": {"kernel_size": 1},
    "3x3 in groups": {"kernel_size": 3, "padding": 1, "groups": 2},
}
# Processor: whether our kernels run, and whether they have products of 16-bit integers.
OURS, INTEGERS, NEITHER = (True, False), (True, True), (False, False)


def make(name: str, int16: bool) -> Conv2d:
    conv = Conv2d(32, 32, **CONVOLUTIONS[name])
    conv.int16 = int16
    return conv


def set_processor(processor: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, integers = processor
    for module in (winograd, implicit_gemm):
        monkeypatch.setattr(module, "COLUMNS", 16 if kernels else 0)
        monkeypatch.setattr(module, "HAS_INT16_PRODUCTS", integers)


@pytest.mark.parametrize(
    ("processor", "int16", "expected"),
    [
        (OURS, False, (Winograd(), OneDnn(), OneDnn(), OneDnn())),
        (OURS, True, (Winograd(), OneDnn(), OneDnn(), OneDnn())),
        (INTEGERS, False, (Winograd(), OneDnn(), OneDnn(), OneDnn())),
        (INTEGERS, True, (Winograd(True), ImplicitGemm(True), ImplicitGemm(True), OneDnn())),
        (NEITHER, True, (OneDnn(), OneDnn(), OneDnn(), OneDnn())),
    ],
)
def test_float32_on_a_cpu(
    processor: tuple[bool, bool], int16: bool, expected: tuple[Method, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_processor(processor, monkeypatch)
    for name, method in zip(CONVOLUTIONS, expected, strict=True):
        assert choose_method(METHODS, [MAP], make(name, int16)) == method, name


@pytest.mark.parametrize(
    ("processor", "int16", "expected"),
    [
        (OURS, False, ImplicitGemm()),
        (OURS, True, ImplicitGemm()),
        (INTEGERS, False, ImplicitGemm()),
        (INTEGERS, True, ImplicitGemm(int16=True)),
        (NEITHER, True, None),
    ],
)
def test_a_concatenation(
    processor: tuple[bool, bool], int16: bool, expected: Method | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_processor(processor, monkeypatch)
    conv = make("1x1", int16)
    assert choose_method(METHODS_OF_PARTS, MAP.split(16, dim=1), conv) == expected
    assert choose_method(METHODS_OF_PARTS, MAP.split([8, 24], dim=1), conv) is None
    mixed = [MAP[:, :16], MAP[:, 16:].double()]
    assert choose_method(METHODS_OF_PARTS, mixed, conv) is None, "a part that would be converted first"
    assert choose_method(METHODS_OF_PARTS, MAP.double().split(16, dim=1), conv.double()) is None


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("x", [MAP.double(), MAP.to("meta")], ids=["float64", "another device"])
def test_what_is_not_float32_on_a_cpu_is_torchs(
    name: str, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_processor(INTEGERS, monkeypatch)
    conv = make(name, int16=True).to(x.dtype)
    assert choose_method(METHODS, [x], conv) == Plain()


def test_without_onednn_it_is_torchs() -> None:
    with torch.backends.mkldnn.flags(enabled=False):
        assert choose_method(METHODS, [MAP], make("1x1", int16=False)) == Plain()


def test_autocast_decides() -> None:
    conv = make("3x3", int16=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert choose_method(METHODS, [MAP], conv) in (OneDnn(), Plain())
