"""Weights that others wrapped: the same values under the network's own names, and said in the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from weights.small_detector import small_detector

from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from maskrcnn_benchmark.weights.inspect_file import inspect
from maskrcnn_benchmark.weights.load import Purpose
from maskrcnn_benchmark.weights.load_report import LoadReport
from maskrcnn_benchmark.weights.sources.find_state import find_state
from maskrcnn_benchmark.weights.sources.read import TORCH_ZIP, RawFile, read_weights
from maskrcnn_benchmark.weights.unwrap import unwrap

STATE = small_detector().state_dict()
HALF = {name: tensor / 2 if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}


def behind(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def load(path: Path, content: Any, expected: dict[str, Tensor] = STATE) -> LoadReport:
    """Saves and loads `content`; every entry of the model must be the expected one's."""
    torch.save(content, path / "w.pth")
    model = small_detector(seed=1)
    report = Checkpointer(model).load(path / "w.pth", Purpose.USE)
    assert report.kept == report.unused == []
    for name, tensor in model.state_dict().items():
        if "cell_anchors" not in name:
            assert torch.equal(tensor, expected[name]), name
    return report


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
        "model.",
        "detector.",
        "model._orig_mod.module.",
        "net.model.detector.",
    ],
)
def test_prefixes_of_any_nesting(tmp_path: Path, prefix: str) -> None:
    report = load(tmp_path, {"state_dict": behind(prefix)})
    assert f"'{prefix}backbone.body." in "".join(report.notes)


def test_real_wrappers(tmp_path: Path) -> None:
    """torch's own: an average counts its models, torch.compile and a nested module name themselves."""
    model = small_detector()
    report = load(tmp_path, AveragedModel(model).state_dict())
    assert report.dropped == ("n_averaged",)
    load(tmp_path, torch.compile(model).state_dict())
    load(tmp_path, AveragedModel(nn.Sequential(nn.Identity(), model)).state_dict())
    part = small_detector()
    part.backbone = torch.compile(part.backbone)
    compiled = part.state_dict()
    assert any("backbone._orig_mod.body" in name for name in compiled)
    load(tmp_path, compiled)


@pytest.mark.parametrize(
    "place", ["model_state_dict", "net", "ema", "ema_state_dict", "weights", "params", "network", "detector"]
)
def test_places_of_other_names(tmp_path: Path, place: str) -> None:
    moments = {0: {"exp_avg": torch.ones(2)}}
    content = {place: STATE, "epoch": torch.tensor(3), "optimizer": {"state": moments}, "seed": 1}
    report = load(tmp_path, content)
    assert f"under {place!r} in the file" in "".join(report.notes)
    assert place not in report.extra
    assert report.extra["seed"] == 1


def test_places_within_places(tmp_path: Path) -> None:
    report = load(tmp_path, {"checkpoint": {"model_state": behind("module."), "epoch": 3}})
    assert any("'checkpoint.model_state'" in note for note in report.notes)
    load(tmp_path, {"model": {"state_dict": STATE}})


def test_the_average_is_taken_where_it_is_alone(tmp_path: Path) -> None:
    """Beside the weights it is not, and this is said."""
    report = load(tmp_path, {"ema": HALF, "net": STATE})
    assert any("not taken: ema" in note for note in report.notes)
    report = load(tmp_path, {"model_ema": HALF, "model": STATE})
    assert any("not taken: model_ema" in note for note in report.notes)
    load(tmp_path, {"state_dict": behind("model.") | behind("model_ema.", HALF)})
    load(tmp_path, {"state_dict_ema": HALF, "epoch": torch.tensor(1)}, HALF)


def test_lightning_with_tensors_beside_the_model(tmp_path: Path) -> None:
    beside = {"criterion.weight": torch.ones(4), "val_map.total": torch.zeros(())}
    report = load(tmp_path, {"state_dict": behind("model.") | beside, "pytorch-lightning_version": "2.4.0"})
    assert set(report.dropped) == set(beside)


def test_two_networks_are_not_guessed_between(tmp_path: Path) -> None:
    torch.save({"state_dict": behind("student.") | behind("other.", HALF)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"student\.backbone"):
        Checkpointer(small_detector()).load(tmp_path / "w.pth", Purpose.USE)


def test_a_part_is_not_the_whole() -> None:
    """A segmentation network's encoder is no ImageNet file: its names stay."""
    trunk = torchvision.models.resnet18().state_dict()
    content = {f"encoder.{name}": tensor for name, tensor in trunk.items()}
    content |= {f"decoder.{number}.weight": torch.ones(1) for number in range(40)}
    assert find_state(content).state.keys() == content.keys()
    path = Path("w.pth")
    assert list(unwrap(raw_file(path, content)).state) == list(content)


@pytest.mark.parametrize("prefix", ["model.", "module.net.", "_orig_mod."])
def test_wrapped_classifiers_are_converted(prefix: str) -> None:
    """As timm, Lightning and torch.compile leave them; the names behind are another project's."""
    trunk = torchvision.models.resnet18().state_dict()
    unwrapped = unwrap(raw_file(Path("w.pth"), {"state_dict": behind(prefix, trunk)}))
    assert list(unwrapped.state) == list(trunk)


@pytest.mark.parametrize("prefix", ["features.", "trunk."])
def test_a_models_own_first_part_stays(prefix: str) -> None:
    """A body of one Sequential has a prefix of its own, and a guest's names are known from its model."""
    inner = torchvision.models.resnet18().state_dict()
    state = behind(prefix, inner)
    own = ["backbone.body." + name for name in state]
    assert list(unwrap(raw_file(Path("w.pth"), state), own).state) == list(state)
    assert list(unwrap(raw_file(Path("w.pth"), behind("model.", state)), own).state) == list(state)


def test_inspection_says_it(tmp_path: Path) -> None:
    torch.save({"net": behind("_orig_mod.")}, tmp_path / "w.pth")
    text = str(inspect(read_weights(tmp_path / "w.pth")))
    assert "V-27-slim" in text
    assert "under 'net'" in text
    assert "'_orig_mod.backbone.body." in text


def raw_file(path: Path, content: dict[str, Any]) -> Any:
    return RawFile(path, TORCH_ZIP, content)
