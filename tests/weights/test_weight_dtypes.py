"""Stored types that cannot be computed with: their values as float32, or a refusal by name."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor
from weights.small_detector import small_detector

from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from maskrcnn_benchmark.weights.compare_files import difference
from maskrcnn_benchmark.weights.convert_file import rewrite
from maskrcnn_benchmark.weights.inspect_file import inspect
from maskrcnn_benchmark.weights.load import Purpose
from maskrcnn_benchmark.weights.sources.read import read_weights

FLOAT8 = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]
CONV = "rpn.head.conv.weight"


def in_dtype(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()
    }


@pytest.mark.parametrize("dtype", FLOAT8)
def test_eight_bits_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = in_dtype(small_detector().state_dict(), dtype)
    state = {name: tensor for name, tensor in state.items() if "cell_anchors" not in name}
    torch.save({"model": state}, tmp_path / "w.pth")
    model = small_detector(seed=1)
    report = Checkpointer(model).load(tmp_path / "w.pth", Purpose.USE)
    assert any(f"stored as {str(dtype)[6:]}, loaded as float32" in note for note in report.notes)
    for name, tensor in model.state_dict().items():
        if "cell_anchors" not in name:
            assert torch.equal(tensor, state[name].float()), name


def test_of_safetensors_inspected_and_compared(tmp_path: Path) -> None:
    state = in_dtype({"rpn.a": torch.ones(3), "rpn.b": torch.zeros(2)}, torch.float8_e4m3fn)
    save_file(state, tmp_path / "w.safetensors")
    found = inspect(read_weights(tmp_path / "w.safetensors"))
    assert found.types == {"float8_e4m3fn": 2}
    assert found.not_finite == []
    assert difference(state, state).is_none
    assert difference(state, state | {"rpn.a": state["rpn.b"].new_ones(3)}).is_none
    assert len(difference(state, state | {"rpn.b": torch.ones(2).to(torch.float8_e4m3fn)}).values) == 1


def test_nan_in_eight_bits_is_named(tmp_path: Path) -> None:
    state = in_dtype(small_detector().state_dict(), torch.float8_e4m3fn)
    state[CONV] = torch.full(state[CONV].shape, torch.nan).to(torch.float8_e4m3fn)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"NaN or infinite values in 1 \({CONV}"):
        Checkpointer(small_detector()).load(tmp_path / "w.pth", Purpose.USE)
    assert inspect(read_weights(tmp_path / "w.pth")).not_finite == [CONV]


def test_a_converter_computes_with_them(tmp_path: Path) -> None:
    trunk = torchvision.models.resnet18().state_dict()
    torch.save(in_dtype(trunk, torch.float8_e5m2), tmp_path / "eight.pth")
    torch.save(in_dtype(in_dtype(trunk, torch.float8_e5m2), torch.float32), tmp_path / "full.pth")
    eight, full = (rewrite(read_weights(tmp_path / name)).state for name in ("eight.pth", "full.pth"))
    assert eight.keys() == full.keys()
    assert all(torch.equal(eight[name], full[name]) for name in full)


def test_quantized_and_sparse(tmp_path: Path) -> None:
    state = small_detector().state_dict()
    dense = torch.where(torch.rand(state[CONV].shape) < 0.1, state[CONV], 0.0)
    bias = torch.arange(len(state["rpn.head.conv.bias"])) / 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of quantized types and their storages
        quantized = torch.quantize_per_tensor(bias, 0.25, 0, torch.qint8)
        torch.save(state | {CONV: dense.to_sparse(), "rpn.head.conv.bias": quantized}, tmp_path / "w.pth")
        model = small_detector(seed=1)
        report = Checkpointer(model).load(tmp_path / "w.pth", Purpose.USE)
    assert torch.equal(model.state_dict()[CONV], dense)
    assert torch.equal(model.state_dict()["rpn.head.conv.bias"], bias)
    assert "1 tensors stored as float32 (sparse), loaded as float32" in report.notes
    assert "1 tensors stored as qint8, loaded as float32" in report.notes


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.empty(4, dtype=torch.float4_e2m1fn_x2), "float4_e2m1fn_x2"),
        (torch.ones(4, dtype=torch.complex64), "complex64"),
        (torch.ones(4, device="meta"), "without values"),
    ],
)
def test_what_cannot_become_float32_is_refused_by_name(tmp_path: Path, tensor: Tensor, kind: str) -> None:
    torch.save(small_detector().state_dict() | {CONV: tensor}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"cannot become float32: 1 \({CONV} \({kind}\)\); have"):
        Checkpointer(small_detector()).load(tmp_path / "w.pth", Purpose.USE)
