"""What DTYPE comes to at inference on this and other devices."""

from __future__ import annotations

import pytest
import torch

from maskrcnn_benchmark.engine import precision
from maskrcnn_benchmark.layers.int16 import HAS_INT16_PRODUCTS, multiplies_int16

CPU, GPU = torch.device("cpu"), torch.device("cuda")
HALF = ["bfloat16", "float16"]


@pytest.fixture
def cpu_without_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "HAS_INT16_PRODUCTS", True)
    monkeypatch.setattr(precision, "cpu_computes", lambda dtype: False)


def integers() -> bool:
    return multiplies_int16(CPU, torch.float32)


@pytest.mark.parametrize("name", HALF)
def test_a_cpu_without_half_precision_takes_integers(name: str, cpu_without_half: None) -> None:
    dtype = precision.inference_dtype(name, CPU)
    assert dtype == getattr(torch, name)
    with precision.autocast(CPU, dtype):
        assert integers() == HAS_INT16_PRODUCTS
        assert not torch.is_autocast_enabled("cpu")
    assert not integers()
    assert "16-bit integers" in precision.describe_dtype(CPU, dtype)


@pytest.mark.parametrize("name", HALF)
def test_a_cpu_with_half_precision_takes_that(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "HAS_INT16_PRODUCTS", True)
    monkeypatch.setattr(precision, "cpu_computes", lambda dtype: True)
    dtype = getattr(torch, name)
    with precision.autocast(CPU, dtype):
        assert torch.get_autocast_dtype("cpu") == dtype and torch.is_autocast_enabled("cpu")
        assert not integers()
    assert precision.describe_dtype(CPU, dtype) == name


@pytest.mark.parametrize("name", HALF)
def test_a_cpu_with_neither_takes_float32(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "HAS_INT16_PRODUCTS", False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "avx512_fp16": False})
    assert precision.inference_dtype(name, CPU) == torch.float32
    assert "no instructions" in caplog.text


def test_float32_and_gpus_are_left_alone(cpu_without_half: None) -> None:
    assert precision.inference_dtype("float32", CPU) == torch.float32
    with precision.autocast("cpu", torch.float32):
        assert not integers() and not torch.is_autocast_enabled("cpu")
    assert precision.describe_dtype(CPU, torch.float32) == "float32"
    for name in HALF:
        dtype = precision.inference_dtype(name, GPU)
        assert dtype == getattr(torch, name) and precision.describe_dtype(GPU, dtype) == name
