"""Weights into real detectors: complete, converted, or refused in words; the known traps by name."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from golden.reference import config_of
from safetensors.torch import save_file
from torch import Tensor, nn
from weights.small_detector import ROOT, empty_detector, published_state, small_config, small_detector

from maskrcnn_benchmark.weights.checkpoint import Checkpointer, DetectronCheckpointer
from maskrcnn_benchmark.weights.load import Purpose

V39, V57 = "vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml", "vovnet/e2e_mask_rcnn_V_57_FPN_2x.yaml"
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def write(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save({"model": state}, path)
    return path


def equal(model: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def without(part: str) -> Change:
    return lambda state: {key: value for key, value in state.items() if part not in key}


# The traps of the published files.


@pytest.mark.parametrize("config", [V39, V57])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_published_detectors_load(tmp_path: Path, config: str, prefix: str) -> None:
    """Trained in parallel or not; nothing kept, nothing unused."""
    state = published_state(config, lambda name: prefix + name)
    report = Checkpointer(empty_detector(config)).load(write(tmp_path / "MRCN.pth", state), Purpose.USE)
    assert (report.kept, report.unused, report.warnings) == ([], [], [])
    assert len(report.loaded) == len(state) - 5  # all but the anchors of five levels


@pytest.mark.parametrize("config", [V39, V57])
@pytest.mark.parametrize("mask_on", [True, False])
def test_first_published_files_without_the_stem_are_refused(
    tmp_path: Path, config: str, mask_on: bool
) -> None:
    """Their stem went by other names than the code's, which gave an AP of 0.005."""
    config = config if mask_on else config.replace("mask", "faster")
    state = published_state(config, lambda name: name.replace("/norm", "/bn") if ".stem." in name else name)
    model = empty_detector(config)
    body = "V-39" if "V_39" in config else "V-57"
    with pytest.raises(ValueError, match=rf"AP of 0\.005.*\*-2x-norm\.pth: take FRCN-{body}-FPN-2x-norm"):
        Checkpointer(model).load(write(tmp_path / "w.pth", state), Purpose.USE)
    with pytest.raises(ValueError, match=r"AP of 0\.005"):
        Checkpointer(model).load(
            write(tmp_path / "w.pth", without(".stem.")(published_state(config))), Purpose.USE
        )


def test_the_tables_link_for_v57_mask_gives_v39(tmp_path: Path) -> None:
    path = write(tmp_path / "MRCN-V-57.pth", published_state(V39))
    with pytest.raises(ValueError, match=r"this file is V-39, the config builds V-57 \(a published table's"):
        Checkpointer(empty_detector(V57)).load(path, Purpose.USE)


def test_v57_into_v39(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pth", published_state(V57))
    with pytest.raises(ValueError, match=r"this file is V-57, the config builds V-39\. "):
        Checkpointer(empty_detector(V39)).load(path, Purpose.USE)


def test_faster_for_mask_and_mask_for_faster(tmp_path: Path) -> None:
    faster = V39.replace("mask", "faster")
    path = write(tmp_path / "w.pth", published_state(faster))
    with pytest.raises(ValueError, match="is a Faster R-CNN and the config builds a Mask R-CNN"):
        Checkpointer(empty_detector(V39)).load(path, Purpose.USE)
    path = write(tmp_path / "w.pth", published_state(V39))
    with pytest.raises(ValueError, match="is a Mask R-CNN and the config builds a Faster R-CNN"):
        Checkpointer(empty_detector(faster)).load(path, Purpose.USE)


def test_stored_anchors_are_compared_and_never_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = small_detector()
    state = copy_of(model)
    path = write(tmp_path / "w.pth", state)
    assert Checkpointer(model).load(path, Purpose.USE).warnings == []
    other = "rpn.anchor_generator.cell_anchors.1"
    with caplog.at_level(logging.WARNING, logger="maskrcnn_benchmark"):
        report = Checkpointer(model).load(write(path, state | {other: state[other] * 2}), Purpose.USE)
    assert torch.equal(model.state_dict()[other], state[other])
    assert "trained with other anchors than the config's" in report.warnings[0]
    assert other in caplog.text
    assert "cell_anchors.2" not in caplog.text
    # and a file without anchors is complete
    assert Checkpointer(model).load(write(path, without("cell_anchors")(state)), Purpose.USE).warnings == []


def test_authors_body_file(tmp_path: Path) -> None:
    """vovnet39_statedict_norm.pth: "module." on every name, batch counts, the classifier."""
    prefix = "backbone.body."
    names = published_state(V39)
    state = {f"module.{k.removeprefix(prefix)}": v for k, v in names.items() if k.startswith(prefix)}
    state |= {
        "module.classifier.weight": torch.zeros(1000, 1024),
        "module.classifier.bias": torch.zeros(1000),
    }
    means = [name for name in state if name.endswith("running_mean")]
    state |= {name.replace("running_mean", "num_batches_tracked"): torch.tensor(1) for name in means}
    torch.save(state, tmp_path / "vovnet39_statedict_norm.pth")
    report = Checkpointer(empty_detector(V39)).load(
        tmp_path / "vovnet39_statedict_norm.pth", Purpose.TRAINING
    )
    assert len(report.loaded) == sum(name.startswith(prefix) for name in names)
    assert all(name.startswith(prefix) for name in report.loaded)
    assert not any(name.startswith(prefix) for name in report.kept)
    assert {name for name in report.dropped if "classifier" in name} != set()
    with pytest.raises(ValueError, match="this file is V-39, the config builds V-57"):
        Checkpointer(empty_detector(V57)).load(tmp_path / "vovnet39_statedict_norm.pth", Purpose.TRAINING)


def test_an_absent_published_file_comes_with_what_serves_for_it(tmp_path: Path) -> None:
    """The published configs name the authors' files, whose links are dead."""
    words = (
        r"does not exist .*link .* is dead; .* MODEL\.WEIGHT catalog://ImageNetPretrained/pytorchcv/vovnet39 "
    )
    with pytest.raises(ValueError, match=words):
        Checkpointer(empty_detector(V39)).load(tmp_path / "vovnet39_statedict_norm.pth", Purpose.USE)
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHT catalog://.*/resnet50-IMAGENET1K_V1 fetches it"):
        Checkpointer(empty_detector(V39)).load(tmp_path / "resnet50-0676ba61.pth", Purpose.USE)
    with pytest.raises(ValueError, match=r"does not exist \(searched from [^)]*\)$"):
        Checkpointer(empty_detector(V39)).load(tmp_path / "mine.pth", Purpose.USE)


def test_shared_head_of_c4(tmp_path: Path) -> None:
    """The two heads have one extractor: under two names in published files, once in safetensors."""
    config = "e2e_mask_rcnn_R_50_C4_1x.yaml"
    state = published_state(config)
    model = empty_detector(config)
    assert Checkpointer(model).load(write(tmp_path / "w.pth", state), Purpose.USE).kept == []
    once = without("roi_heads.mask.feature_extractor")(state)
    assert len(once) < len(state)
    assert Checkpointer(model).load(write(tmp_path / "w.pth", once), Purpose.USE).kept == []
    with pytest.raises(ValueError, match=r"missing in the file: roi_heads\.box\.feature_extractor"):
        Checkpointer(model).load(write(tmp_path / "w.pth", without("feature_extractor")(state)), Purpose.USE)


def test_body_weights_reach_the_head_of_c4(tmp_path: Path) -> None:
    """A classifier's last stage is the C4 head's, as in the reference implementation."""
    torchvision = pytest.importorskip("torchvision")
    torch.save(torchvision.models.resnet50().state_dict(), tmp_path / "resnet50.pth")
    model = empty_detector("e2e_faster_rcnn_R_50_C4_1x.yaml")
    report = Checkpointer(model).load(tmp_path / "resnet50.pth", Purpose.TRAINING)
    assert any(".feature_extractor.head.layer4." in name for name in report.loaded)
    assert not any("layer4" in name or name.startswith("backbone.") for name in report.kept)
    assert report.unused == []


# What any file must be.


def test_not_finite_is_refused_by_name(tmp_path: Path) -> None:
    model = small_detector()
    state = copy_of(model)
    before = copy_of(model)
    state["rpn.head.conv.bias"][3] = torch.nan
    state["rpn.head.conv.weight"][0, 0, 0] = torch.inf
    with pytest.raises(
        ValueError, match=r"rpn\.head\.conv\.weight \(3 of .*rpn\.head\.conv\.bias \(1 of 32 val"
    ):
        Checkpointer(model).load(write(tmp_path / "w.pth", state), Purpose.USE)
    assert equal(model, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    first = small_detector()
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in first.state_dict().items()}
    model = small_detector(seed=1)
    report = Checkpointer(model).load(write(tmp_path / "w.pth", state), Purpose.USE)
    assert any(f"stored as {str(dtype)[6:]}, loaded as float32" in note for note in report.notes)
    for key, tensor in model.state_dict().items():
        assert tensor.dtype == first.state_dict()[key].dtype
        if "cell_anchors" not in key:
            assert torch.equal(tensor, state[key].float())


def test_incomplete_detector_is_refused_and_partial_when_asked(tmp_path: Path) -> None:
    model, first = small_detector(seed=1), small_detector()
    before = copy_of(model)
    path = write(tmp_path / "w.pth", without("fpn_layer2")(first.state_dict()))
    with pytest.raises(ValueError, match=r"2 missing in the file: backbone\.fpn\.fpn_layer2\.weight"):
        Checkpointer(model).load(path, Purpose.USE)
    assert equal(model, before)
    report = Checkpointer(model).load(path, Purpose.USE, partial=True)
    assert report.kept == ["backbone.fpn.fpn_layer2.weight", "backbone.fpn.fpn_layer2.bias"]
    assert "initial values kept for: 2" in str(report)
    assert torch.equal(model.rpn.head.conv.weight, first.rpn.head.conv.weight)
    path = write(path, first.state_dict() | {"rpn.extra.weight": torch.ones(1)})
    with pytest.raises(ValueError, match=r"1 unknown to the model: rpn\.extra\.weight"):
        Checkpointer(model).load(path, Purpose.USE)


def test_the_log_has_every_name_that_does_not_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = small_detector()
    state = model.state_dict()
    wrong = {f"nobody.{number}": torch.zeros(1) for number in range(20)}
    cut = {key: value for key, value in state.items() if not key.startswith("roi_heads.")}
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match="another architecture"):
        Checkpointer(model).load(write(tmp_path / "cut.pth", cut | wrong), Purpose.USE)
    for key in (*wrong, *(key for key in state if key.startswith("roi_heads."))):
        assert f": {key}" in caplog.text


def test_checkpoint_of_before_versions_loads(tmp_path: Path) -> None:
    """As the project wrote them at first: no format, version, config or class names."""
    first, model = small_detector(), small_detector(seed=1)
    state = {
        "model": first.state_dict(),
        "optimizer": {},
        "scheduler": {},
        "iteration": 7,
        "random_states": [],
    }
    torch.save(state, tmp_path / "model_final.pth")
    report = Checkpointer(model).load(tmp_path / "model_final.pth", Purpose.USE)
    assert "older than numbered formats" in report.source
    assert report.extra["iteration"] == 7
    assert equal(model, first.state_dict())


def test_checkpoint_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    model = small_detector()
    words = "written by a newer version of this project: its format is 99, this version reads up to"
    torch.save(
        {"format": "maskrcnn_benchmark", "version": 99, "model": model.state_dict()}, tmp_path / "w.pth"
    )
    save_file({"a": torch.ones(1)}, tmp_path / "w.st", {"format": "maskrcnn_benchmark", "version": "99"})
    for name in ("w.pth", "w.st"):
        with pytest.raises(ValueError, match=words):
            Checkpointer(model).load(tmp_path / name, Purpose.USE)


# Other projects' weights.


def test_converted_body_computes_the_sources_features(tmp_path: Path) -> None:
    """End to end, through the file and the report; each converter has its own proof."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18-f37072fd.pth")
    opts = ("MODEL.BACKBONE.CONV_BODY", "R-18-FPN", "MODEL.FPN.OUT_CHANNELS", 32)
    model = small_detector(4, 0, *opts)
    report = DetectronCheckpointer(small_config(4, *opts), model).load(
        tmp_path / "resnet18-f37072fd.pth", Purpose.TRAINING
    )
    assert "torchvision" in report.source
    assert report.dropped
    assert any("first convolution takes the config's pixels" in note for note in report.notes)
    bgr = torch.randint(0, 256, (1, 3, 96, 128)).float()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    source = (bgr.flip(1) / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        expected = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(source)))))
        found = model.backbone.body((bgr - model.pixel_mean) / model.pixel_std)[0]
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))  # beside the border; see fold_pixels
    torch.testing.assert_close(found[inner], expected[inner], rtol=1e-4, atol=1e-4)


def test_settings_that_weights_need(tmp_path: Path) -> None:
    """A ResNet-50 of torchvision strides in its 3x3 convolutions, which no name and no shape tells."""
    torchvision = pytest.importorskip("torchvision")
    torch.save(torchvision.models.resnet50().state_dict(), tmp_path / "resnet50.pth")
    opts = ("MODEL.BACKBONE.CONV_BODY", "R-50-FPN", "MODEL.FPN.OUT_CHANNELS", 32)
    model = small_detector(4, 0, *opts)
    with pytest.raises(ValueError, match=r"set MODEL\.RESNETS\.STRIDE_IN_1X1 False \(it is True\)"):
        DetectronCheckpointer(small_config(4, *opts), model).load(tmp_path / "resnet50.pth", Purpose.TRAINING)
    opts = (*opts, "MODEL.RESNETS.STRIDE_IN_1X1", False)
    DetectronCheckpointer(small_config(4, *opts), model).load(tmp_path / "resnet50.pth", Purpose.TRAINING)


def test_other_pixels_than_the_files_are_warned_of(tmp_path: Path) -> None:
    model = small_detector()
    path = DetectronCheckpointer(small_config(), model, save_dir=tmp_path).save("model_final")
    other = small_config(4, "INPUT.PIXEL_MEAN", [1.0, 2.0, 3.0])
    report = DetectronCheckpointer(other, model).load(path, Purpose.USE)
    assert report.warnings == [
        "the file was trained with INPUT.PIXEL_MEAN [102.9801, 115.9465, 122.7717], "
        "the config has [1.0, 2.0, 3.0]"
    ]


@pytest.mark.parametrize("whole", [True, False])
def test_detectrons_pickles(tmp_path: Path, whole: bool) -> None:
    """R-50.pkl as ImageNet weights, and a detector's model_final.pkl, by the reference's table of blobs."""
    facts = json.loads((ROOT / "tests/weights/converters/data/caffe2_names.json").read_text())
    chosen = facts["body"] | (facts["detector"] if whole else {})
    state = published_state(facts["config"])
    blobs = {blob: np.zeros(state[name].shape, np.float16) for name, blob in chosen.items()}
    blobs |= {"fc1000_w": np.zeros((1000, 2048)), "conv1_w_momentum": np.zeros(3), "lr": np.zeros(1)}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"blobs": blobs, "cfg": "text"}, protocol=2))
    model = empty_detector(facts["config"])
    report = DetectronCheckpointer(config_of(facts["config"]), model).load(
        tmp_path / "R-50.pkl", Purpose.TRAINING
    )
    assert report.unused == []
    assert not any(name.startswith("backbone.body.") for name in report.kept)
    assert whole == (report.kept == [])


def test_a_trunk_of_unknown_pixels_is_said(tmp_path: Path) -> None:
    """torchvision's names without the classifier, as some projects cut them, do not tell the convention."""
    trunk = torchvision.models.resnet18().state_dict()
    torch.save(
        {name: value for name, value in trunk.items() if not name.startswith("fc.")}, tmp_path / "w.pth"
    )
    model = small_detector(4, 0, "MODEL.BACKBONE.CONV_BODY", "R-18-FPN", "MODEL.MASK_ON", False)
    (warning,) = Checkpointer(model).load(tmp_path / "w.pth", Purpose.TRAINING).warnings
    assert "without its classifier" in warning
