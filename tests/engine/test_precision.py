"""What DTYPE comes to at inference on this and other devices."""

from __future__ import annotations

import pytest
import torch

from maskrcnn_benchmark.engine import precision
from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS, multiplies_int16

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
    with precision.computing_in(dtype, CPU):
        assert integers() == HAS_INT16_PRODUCTS
        assert not torch.is_autocast_enabled("cpu")
    assert not integers()
    assert precision.describe_dtype(dtype, CPU) == "16-bit integers"


@pytest.mark.parametrize("name", HALF)
def test_a_cpu_with_half_precision_takes_that(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "HAS_INT16_PRODUCTS", True)
    monkeypatch.setattr(precision, "cpu_computes", lambda dtype: True)
    dtype = getattr(torch, name)
    with precision.computing_in(dtype, CPU):
        assert torch.get_autocast_dtype("cpu") == dtype and torch.is_autocast_enabled("cpu")
        assert not integers()
    assert precision.describe_dtype(dtype, CPU) == name


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
    with precision.computing_in(torch.float32, "cpu"):
        assert not integers() and not torch.is_autocast_enabled("cpu")
    assert precision.describe_dtype(torch.float32, CPU) == "float32"
    for name in HALF:
        dtype = precision.inference_dtype(name, GPU)
        assert dtype == getattr(torch, name) and precision.describe_dtype(dtype, GPU) == name


def test_the_innermost_type_counts(cpu_without_half: None) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            with precision.computing_in(dtype, CPU):
                assert not torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_enabled("cpu")
    with precision.computing_in(torch.bfloat16, CPU):
        with precision.computing_in(torch.float32, CPU):
            assert not integers()
        assert integers() == HAS_INT16_PRODUCTS
