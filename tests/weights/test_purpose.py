"""For training, a body is a start; for use, the file holds the whole detector. Every caller says which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from weights.small_detector import small_config, small_detector

from maskrcnn_benchmark.models import load_detector, mask_rcnn
from maskrcnn_benchmark.models.pretraining import save_backbone
from maskrcnn_benchmark.solver import make_optimizer
from maskrcnn_benchmark.weights.checkpoint import Checkpointer, DetectronCheckpointer
from maskrcnn_benchmark.weights.load import Purpose
from maskrcnn_benchmark.weights.sources import catalogue, resolve

ROOT = Path(__file__).parents[2]
PREFIX = "backbone.body."
MISSING = "backbone.fpn 16, rpn.head 6, roi_heads.box 8, roi_heads.mask 6"
RESNET50 = "ImageNetPretrained/torchvision/resnet50-IMAGENET1K_V1"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole detector; its body in the detector's names and in the body's own."""
    state = small_detector().state_dict()
    body = {name: tensor for name, tensor in state.items() if name.startswith(PREFIX)}
    bare = {name.removeprefix(PREFIX): tensor for name, tensor in body.items()}
    folder = tmp_path_factory.mktemp("files")
    for name, content in (("whole", state), ("body", body), ("bare", bare)):
        torch.save({"model": content}, folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in ("whole", "body", "bare")}


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["body", "bare"])
def test_a_body_alone_starts_training_and_is_refused_for_use(files: dict[str, Path], name: str) -> None:
    model = small_detector(seed=1)
    before = copied(model)
    with pytest.raises(ValueError, match=r"a body alone \(V-27-slim\)") as refused:
        Checkpointer(model).load(files[name], Purpose.USE)
    message = str(refused.value)
    assert message.startswith(f"weights of {files[name]}: ")
    assert f"36 entries of the detector are missing and would stay random: {MISSING}." in message
    for mend in (
        "MODEL.WEIGHT path.pth",
        "--ckpt path.pth",
        "maskrcnn-benchmark train",
        "MODEL.WEIGHT_PARTIAL True",
    ):
        assert mend in message
    assert unchanged(model, before)
    report = Checkpointer(model).load(files[name], Purpose.TRAINING)
    assert len(report.kept) == 36
    assert torch.equal(model.rpn.head.conv.weight, before["rpn.head.conv.weight"])
    first = next(iter(report.loaded))
    assert first.startswith(PREFIX) and not torch.equal(model.state_dict()[first], before[first])


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_whole_detector_serves_both(files: dict[str, Path], purpose: Purpose) -> None:
    report = Checkpointer(small_detector(seed=1)).load(files["whole"], purpose)
    assert report.kept == []


@pytest.mark.parametrize("purpose", list(Purpose))
def test_partial_loading_takes_a_body_for_either(files: dict[str, Path], purpose: Purpose) -> None:
    assert len(Checkpointer(small_detector(seed=1)).load(files["body"], purpose, partial=True).kept) == 36


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_detector_without_its_proposals_serves_neither(
    files: dict[str, Path], tmp_path: Path, purpose: Purpose
) -> None:
    """It is neither a body nor a detector, and no start that anybody meant."""
    state: dict[str, Tensor] = torch.load(files["whole"], weights_only=True)["model"]
    torch.save({name: tensor for name, tensor in state.items() if "rpn." not in name}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"6 missing in the file: rpn\.head\.conv\.weight"):
        Checkpointer(small_detector(seed=1)).load(tmp_path / "w.pth", purpose)


def test_no_file_at_all() -> None:
    """Training may start from random numbers; using them scores nothing."""
    checkpointer = Checkpointer(small_detector())
    for nothing in ("", None):
        with pytest.raises(ValueError, match=r"no weights to use: give MODEL\.WEIGHT path\.pth"):
            checkpointer.load(nothing, Purpose.USE)
        assert checkpointer.load(nothing, Purpose.TRAINING).loaded == {}


@pytest.mark.parametrize("name", [f"catalog://{RESNET50}", "address"])
def test_a_published_body_is_refused_before_it_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (entry,) = [entry for entry in catalogue.entries() if entry.name == RESNET50]
    name = entry.urls[0] if name == "address" else name
    fetched = []
    monkeypatch.setattr(resolve, "download", lambda wanted, *rest: fetched.append(wanted))
    with pytest.raises(ValueError, match=r"a body alone \(R-50\), as training starts from it\. 36 entries"):
        Checkpointer(small_detector()).load(name, Purpose.USE)
    assert fetched == []


def test_the_familys_checkpointer_tells_it_by_its_optimizer(files: dict[str, Path]) -> None:
    """The family's train_net gives it one, test_net and the demo do not; all call load(cfg.MODEL.WEIGHT)."""
    cfg, model = small_config(), small_detector(seed=1)
    training = DetectronCheckpointer(cfg, model, make_optimizer(cfg, model))
    use = DetectronCheckpointer(cfg, model, save_dir="unused")
    assert len(training.load(files["body"]).kept) == 36
    with pytest.raises(ValueError, match=r"a body alone \(V-27-slim\)"):
        use.load(files["body"])
    assert len(use.load(files["body"], Purpose.TRAINING).kept) == 36
    assert use.load(files["whole"]).kept == []
    assert use.load("").loaded == {}


def test_a_run_does_not_resume_with_a_body_alone(files: dict[str, Path], tmp_path: Path) -> None:
    cfg, model = small_config(), small_detector(seed=1)
    optimizer = make_optimizer(cfg, model)
    run = Checkpointer(model, optimizer, save_dir=tmp_path)
    path = run.save("model_0000001", iteration=1)
    assert path is not None
    content = torch.load(path, weights_only=True)
    content["model"] = torch.load(files["body"], weights_only=True)["model"]
    torch.save(content, path)
    before = copied(model)
    with pytest.raises(ValueError, match=r"a body alone \(V-27-slim\)"):
        run.resume()
    assert unchanged(model, before)


@pytest.mark.parametrize("file", ["backbone.pth", "backbone.safetensors"])
def test_a_pretrained_body_is_no_loaded_detector(tmp_path: Path, file: str) -> None:
    """It carries the config of the detector to come, so that only its weights show what it is."""
    body = small_detector().backbone.get_submodule("body")
    save_backbone(tmp_path, body, small_config().dump(), {})
    with pytest.raises(ValueError, match=r"a body alone \(V-27-slim\).*would stay random: backbone\.fpn 16"):
        load_detector(tmp_path / file, "cpu")


def test_a_detector_built_to_be_trained_takes_a_body(files: dict[str, Path]) -> None:
    options = {"MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM": 16}
    model = mask_rcnn(3, "V-27-slim-FPN", files["body"], options=options)
    (name, tensor), *_ = torch.load(files["body"], weights_only=True)["model"].items()
    assert torch.equal(model.state_dict()[name], tensor)


def loads_of(path: Path) -> list[ast.Call]:
    """The calls in a file that load weights: a checkpointer's `load`, and `LoadOptions`."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [
        call
        for call in calls
        if ast.unparse(call.func).endswith("LoadOptions")
        or ("heckpointer" in ast.unparse(call.func) and ast.unparse(call.func).endswith(".load"))
    ]


def test_every_caller_states_the_purpose() -> None:
    """The family's checkpointer may do without; this project's own code may not."""
    folders = [ROOT / name for name in ("maskrcnn_benchmark", "tools", "benchmarks")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    calls = [(path, ast.unparse(call)) for path in files for call in loads_of(path)]
    assert len(calls) >= 7, "the walk finds what it looks for"
    silent = [f"{path}: {call}" for path, call in calls if "purpose" not in call.lower()]
    assert not silent, silent
