"""`maskrcnn-benchmark weights` command by command, and `test` on a published file alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from engine import inference_case as case
from scripts import TOOLS, run_script
from weights.small_detector import small_config, small_detector

from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.weights.checkpoint import Checkpointer, DetectronCheckpointer
from maskrcnn_benchmark.weights.load import Purpose
from maskrcnn_benchmark.weights.provenance import provenance_of
from maskrcnn_benchmark.weights.sources.catalogue import entries
from maskrcnn_benchmark.weights.sources.read import read_weights


def weights(*arguments: object) -> int:
    """The tool in this process: `weights("inspect", file)`."""
    return run_script(TOOLS / "weights.py", *arguments)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A run's checkpoint."""
    names = ("__background__", "even", "odd")
    folder = tmp_path / "run"
    folder.mkdir()
    checkpointer = DetectronCheckpointer(
        small_config(3), small_detector(3), save_dir=folder, class_names=names
    )
    path = checkpointer.save("model_final", iteration=9, results={"val/bbox/AP": 0.125, "val/bbox/AP50": 0.5})
    assert path is not None
    return path


def test_list_names_every_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert weights("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [entry.name for entry in entries()]


def test_fetch_of_an_unknown_name() -> None:
    with pytest.raises(SystemExit, match="error: unknown weights catalog://nothing/like/it"):
        weights("fetch", "nothing/like/it")


def test_inspect_a_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert weights("inspect", checkpoint) == 0
    told = capsys.readouterr().out
    model = small_detector(3)
    tensors = len(model.state_dict())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    frozen = sum(
        buffer.numel() for name, buffer in model.named_buffers() if name.endswith(("weight", "bias"))
    )
    facts = {line.split(None, 1)[0]: line.split(None, 1)[1] for line in told.splitlines()}
    assert facts["what"] == "this project's, format 1"
    assert facts["row"] == "V-27-slim-FPN Mask R-CNN"
    assert facts["tensors"] == f"{tensors} ({tensors} float32)"
    assert facts["parameters"] == f"{parameters + frozen:,}"
    assert facts["classes"] == "2 and background: even, odd"
    assert facts["iteration"] == "9"
    assert facts["metrics"] == "val/bbox/AP 0.125"
    assert facts["config"] == "inside"


def test_inspect_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {f"module.{name}": tensor for name, tensor in small_detector(81).state_dict().items()}
    state["module.rpn.head.conv.bias"] = torch.full((32,), torch.nan).half()
    torch.save({"model": state}, tmp_path / "w.pth")
    weights("inspect", tmp_path / "w.pth")
    told = capsys.readouterr().out
    assert "V-27-slim-FPN Mask R-CNN" in told
    assert "80 and background: person, bicycle, " in told
    assert "(assumed: COCO's)" in told
    assert "1 float16" in told
    assert "NaN or infinite 1 (rpn.head.conv.bias)" in told
    (tmp_path / "w.pth").rename(tmp_path / "MRCN-V-39-FPN-2x-norm.pth")
    weights("inspect", tmp_path / "MRCN-V-39-FPN-2x-norm.pth")
    assert "by the file's name; box AP 41.0; mask AP 36.7" in capsys.readouterr().out
    torch.save(torch.nn.LSTM(2, 2).state_dict(), tmp_path / "w.pth")
    weights("inspect", tmp_path / "w.pth")
    assert "unknown body" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"error: weights file .* does not exist"):
        weights("inspect", tmp_path / "none.pth")


def test_strip(checkpoint: Path, tmp_path: Path) -> None:
    published = tmp_path / "w.safetensors"
    assert weights("strip", checkpoint, published) == 0
    raw = read_weights(published)
    assert set(raw.state) == set(small_detector(3).state_dict())
    assert set(raw.metadata) == {
        *("format", "version", "row", "config", "class_names", "iteration", "metrics"),
    }
    assert json.loads(raw.metadata["metrics"]) == {"val/bbox/AP": 0.125, "val/bbox/AP50": 0.5}
    assert published.stat().st_size < checkpoint.stat().st_size + 20_000
    with pytest.raises(SystemExit, match=r"the file to write is called \*\.safetensors"):
        weights("strip", checkpoint, tmp_path / "w.pth")


def test_strip_a_file_that_says_nothing(tmp_path: Path) -> None:
    """Config and class names can be given."""
    torch.save({"model": small_detector(3).state_dict()}, tmp_path / "w.pth")
    (tmp_path / "config.yaml").write_text(small_config(3).dump())
    (tmp_path / "classes.json").write_text('["even", "odd"]')
    published = tmp_path / "w.safetensors"
    given = ("--config-file", tmp_path / "config.yaml", "--classes", tmp_path / "classes.json")
    weights("strip", tmp_path / "w.pth", published, *given)
    metadata = read_weights(published).metadata
    assert json.loads(metadata["class_names"]) == ["__background__", "even", "odd"]
    assert metadata["row"] == "V-27-slim-FPN Mask R-CNN"


def test_diff(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights("strip", checkpoint, tmp_path / "w.safetensors")
    capsys.readouterr()
    assert weights("diff", checkpoint, tmp_path / "w.safetensors") == 0
    assert "tensors are equal bit by bit" in capsys.readouterr().out
    state = dict(small_detector(3).state_dict())
    state["rpn.head.conv.bias"] = state["rpn.head.conv.bias"] + 0.5
    state["rpn.head.conv.weight"] = torch.zeros(2, 2)
    state["extra"] = state.pop("rpn.head.cls_logits.bias")
    torch.save(state, tmp_path / "other.pth")
    assert weights("diff", checkpoint, tmp_path / "other.pth") == 1
    told = capsys.readouterr().out
    assert "only in the first file: 1 (rpn.head.cls_logits.bias)" in told
    assert "only in the second file: 1 (extra)" in told
    assert "shape (32, 32, 3, 3) in the first, (2, 2) in the second: rpn.head.conv.weight" in told
    assert "5.000e-01" in told
    assert f"{len(state) - 3} tensors are equal" in told


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The converted file is this project's own, and gives what the source's file gives."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet50().state_dict(), tmp_path / "resnet50.pth")
    converted = tmp_path / "r50.safetensors"
    with pytest.raises(SystemExit, match="this file is R-50, not R-101"):
        weights("convert", tmp_path / "resnet50.pth", converted, "--as", "R-101")
    assert not converted.exists()
    weights("convert", tmp_path / "resnet50.pth", converted, "--as", "R-50")
    told = capsys.readouterr().out
    assert "left out: " in told
    assert "needs MODEL.RESNETS.STRIDE_IN_1X1 False" in told
    assert "needs INPUT.TO_BGR255 True" in told
    assert dict(provenance_of(read_weights(converted)).requires)["INPUT.PIXEL_STD"] == [1.0, 1.0, 1.0]
    body = ("MODEL.BACKBONE.CONV_BODY", "R-50-FPN", "MODEL.FPN.OUT_CHANNELS", 32)
    opts = (*body, "MODEL.RESNETS.STRIDE_IN_1X1", False)
    states = []
    for name in ("resnet50.pth", "r50.safetensors"):
        model = build_detection_model(small_config(4, *opts))
        DetectronCheckpointer(small_config(4, *opts), model).load(tmp_path / name, Purpose.TRAINING)
        states.append(model.backbone.body.state_dict())
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-6, atol=1e-6)
    # what the weights need travels with the file
    model = build_detection_model(small_config(4, *body))
    with pytest.raises(ValueError, match=r"set MODEL\.RESNETS\.STRIDE_IN_1X1 False"):
        DetectronCheckpointer(small_config(4, *body), model).load(converted, Purpose.TRAINING)


def test_convert_of_the_unknown(tmp_path: Path) -> None:
    torch.save(torch.nn.LSTM(2, 2).state_dict(), tmp_path / "w.pth")
    with pytest.raises(SystemExit, match="names of no project that is known here: bias_hh_l0"):
        weights("convert", tmp_path / "w.pth", tmp_path / "x.safetensors")


def test_a_published_file_is_enough_to_test(checkpoint: Path, tmp_path: Path) -> None:
    """No --config-file; keys given still change what the file says."""
    script = TOOLS / "test_net.py"
    case.write_dataset(tmp_path, 2)
    data = f"('{tmp_path}/annotations.json@{tmp_path}',)"
    changed = ("DATASETS.TEST", data, "DATALOADER.NUM_WORKERS", 0, "TEST.IMS_PER_BATCH", 1)
    reports = []
    published = Checkpointer(small_detector(3), save_dir=checkpoint.parent).publish("bare")
    with pytest.raises(SystemExit, match="holds no config"):
        run_script(script, "MODEL.WEIGHT", published, *changed)
    for index, arguments in enumerate((("MODEL.WEIGHT", checkpoint), ("--ckpt", checkpoint))):
        out = tmp_path / f"out{index}"
        assert run_script(script, *arguments, *changed, "OUTPUT_DIR", out, "MODEL.DEVICE", "cpu") == 0
        reports.append(next((out / "inference").glob("*/bbox.json")).read_text())
        assert "V-27-slim-FPN" in (out / "report.md").read_text()
    assert reports[0] == reports[1]
    assert len(json.loads(reports[0])) > 0
    with pytest.raises(SystemExit, match=r"no weights to test: give MODEL\.WEIGHT"):
        run_script(script, *changed)
