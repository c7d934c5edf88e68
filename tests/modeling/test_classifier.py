"""A body as a classifier, and its weights on the way into a detector and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.classifier import build_classifier, detector_state
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.models.pretraining import make_pretrain_config, save_backbone
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.plain_file import save_plain
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from maskrcnn_benchmark.weights.inspect_file import inspect
from maskrcnn_benchmark.weights.load import Purpose
from maskrcnn_benchmark.weights.provenance import provenance_of
from maskrcnn_benchmark.weights.publish import save_publishable
from maskrcnn_benchmark.weights.sources.read import read_weights

PUBLISHED_COUNTS = {
    "V-27-slim": 3_525_736,
    "V-39": 22_600_296,
    "V-57": 36_640_296,
    "V2-39": 24_568_936,
    "V2-57": 38_608_936,
    "V2-99": 63_199_272,
    "R-50": 25_557_032,
    "R-101": 44_549_160,
}


@pytest.mark.parametrize("name", PUBLISHED_COUNTS)
def test_parameters_with_1000_classes(name: str) -> None:
    cfg = make_pretrain_config(None, name, 256)
    with torch.device("meta"):
        model = build_classifier(cfg, name, 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED_COUNTS[name]
    assert all(parameter.requires_grad for parameter in model.parameters())


def trained(body: nn.Module) -> None:
    """Gives the norms statistics and affine maps that are not those of a new one."""
    torch.manual_seed(3)
    norms = [module for module in body.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 1.5)
    assert norms[0].running_var is not None
    norms[0].running_var.mul_(1e-4)  # an eps left out would show


@pytest.mark.parametrize("name", ["V-27-slim", "R-18", "VGG-11-BN"])
def test_a_detector_with_frozen_norms_sees_the_same_maps(name: str) -> None:
    classifier = build_classifier(make_pretrain_config(None, name, 8), name, 5).eval()
    trained(classifier.trunk)
    state = detector_state(classifier.trunk)
    backbone = build_backbone(load_config(None, ["MODEL.BACKBONE.CONV_BODY", f"{name}-FPN"])).eval()
    body = backbone.get_submodule("body")
    prefix = "backbone.body."
    body.load_state_dict({key.removeprefix(prefix): value for key, value in state.items()})
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for found, expected in zip(body(x), classifier.trunk(x), strict=True):
            scale = expected.abs().max().clamp(min=1e-6)
            torch.testing.assert_close(found / scale, expected / scale, rtol=1e-3, atol=1e-4)


def test_the_files_are_weights_that_a_detector_takes_as_they_are(tmp_path: Path) -> None:
    cfg = make_pretrain_config(None, "V-27-slim", 8)
    classifier = build_classifier(cfg, "V-27-slim", 5)
    trained(classifier.trunk)
    save_backbone(tmp_path, classifier.trunk, cfg.dump(), {"val/top1": 50.0, "val/top5": 100.0})
    expected = detector_state(classifier.trunk)
    keys = ["MODEL.BACKBONE.CONV_BODY", "V-27-slim-FPN", "MODEL.RPN.ANCHOR_STRIDE", (4, 8, 16, 32, 64)]
    keys += ["MODEL.RPN.USE_FPN", True, "MODEL.ROI_HEADS.USE_FPN", True]
    keys += ["MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR", "FPN2MLPFeatureExtractor"]
    keys += ["MODEL.ROI_BOX_HEAD.POOLER_SCALES", (0.25, 0.125, 0.0625, 0.03125)]
    keys += ["MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNPredictor", "MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM", 8]
    for file in ("backbone.pth", "backbone.safetensors"):
        detector = build_detection_model(load_config(None, keys))
        Checkpointer(detector).load(tmp_path / file, Purpose.TRAINING)
        state = detector.state_dict()
        assert expected.keys() == {key for key in state if key.startswith("backbone.body.")}
        for name, tensor in expected.items():
            assert torch.equal(state[name], tensor), name


def test_a_classifier_is_not_taken_for_a_body(tmp_path: Path) -> None:
    """The run's own checkpoints hold the classifier; a detector wants what save_backbone writes."""
    classifier = build_classifier(make_pretrain_config(None, "V-27-slim", 8), "V-27-slim", 5)
    detector = nn.Module()
    detector.add_module("backbone", build_backbone(make_pretrain_config(None, "V-27-slim", 8)))
    save_plain(tmp_path / "model_final.pth", {"model": classifier.state_dict()})
    save_publishable(tmp_path / "model_final.safetensors", classifier.state_dict(), config="", metrics={})
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    for file in ("model_final.pth", "model_final.safetensors"):
        with pytest.raises(ValueError, match="0 entries match"):
            Checkpointer(detector).load(tmp_path / file, Purpose.TRAINING)
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())


@pytest.mark.parametrize("name", ["VGG-11", "VGG-11-BN"])
def test_the_recipe_fits_bodies_with_and_without_norms(name: str) -> None:
    with torch.device("meta"):
        body = build_classifier(make_pretrain_config(None, name, 8), name, 5).trunk
    assert any(isinstance(module, nn.BatchNorm2d) for module in body.modules()) == name.endswith("BN")


def test_a_trunk_goes_out_of_a_detectors_body_and_comes_back() -> None:
    """With the same norm both are the same module; a frozen one takes the entries as well."""
    cfg = make_pretrain_config(None, "V-27-slim", 8)
    trained_body = build_classifier(cfg, "V-27-slim", 5).trunk
    trained(trained_body)
    frozen_cfg = make_pretrain_config(None, "V-27-slim", 8, ["MODEL.BACKBONE.NORM", "FrozenBN"])
    frozen = build_backbone(frozen_cfg).get_submodule("body")
    frozen.load_state_dict(trained_body.state_dict())
    for name, tensor in frozen.state_dict().items():
        assert torch.equal(tensor, trained_body.state_dict()[name]), name
    with torch.device("meta"):
        backbone = build_backbone(cfg)
        classifier = build_classifier(cfg, "V-27-slim", 5)
    shapes = [
        {name: tensor.shape for name, tensor in body.state_dict().items()}
        for body in (backbone.get_submodule("body"), classifier.trunk)
    ]
    assert shapes[0] == shapes[1]


def test_pretraining_does_not_ignore_weights() -> None:
    """It takes none: a file named on the command line would be passed over in silence."""
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHT 'v39\.pth': pretraining starts from random numbers"):
        make_pretrain_config(None, "V-39", 8, ["MODEL.WEIGHT", "v39.pth"])


def test_a_published_body_does_not_call_itself_a_detector(tmp_path: Path) -> None:
    """Its config is that of the detector to come."""
    cfg = make_pretrain_config(None, "V-27-slim", 8)
    save_backbone(tmp_path, build_classifier(cfg, "V-27-slim", 5).trunk, cfg.dump(), {})
    for file in ("backbone.pth", "backbone.safetensors"):
        raw = read_weights(tmp_path / file)
        assert provenance_of(raw).row == ""
        assert "row          V-27-slim body (no detector)" in str(inspect(raw))


@pytest.mark.parametrize("to_bgr255", [True, False])
def test_loss_and_logits(to_bgr255: bool) -> None:
    """Pixels are normalised as by the detector; the loss is the cross entropy of the logits."""
    opts = ["INPUT.TO_BGR255", to_bgr255, "INPUT.PIXEL_STD", [50.0, 60.0, 70.0], "MODEL.BACKBONE.NORM", "GN"]
    opts += ["MODEL.GROUP_NORM.DIM_PER_GP", 16, "MODEL.GROUP_NORM.NUM_GROUPS", -1]
    if not to_bgr255:
        opts += ["INPUT.PIXEL_MEAN", [0.485, 0.456, 0.406], "INPUT.PIXEL_STD", [0.229, 0.224, 0.225]]
    model = build_classifier(make_pretrain_config(None, "V-27-slim", 8, opts), "V-27-slim", 4)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    mean, std = ([102.9801, 115.9465, 122.7717], [50.0, 60.0, 70.0])
    pixels = images.float()
    if not to_bgr255:
        pixels, mean, std = pixels.flip(1) / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    normalised = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    targets = []
    for label in (0, 3, 1):
        target = BoxList([[0.0, 0.0, 31.0, 31.0]], (32, 32))
        target.add_field("labels", torch.tensor([label]))
        targets.append(target)
    with torch.no_grad():
        expected = model.fc(model.trunk(normalised)[-1].mean(dim=(2, 3)))
        loss = model.train()(images, targets)["loss_classifier"]
        logits = model.eval()(images)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss, F.cross_entropy(expected, torch.tensor([0, 3, 1])), rtol=1e-4, atol=1e-4)


def test_unknown_body_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="V-39"):
        build_classifier(make_pretrain_config(None, "V-38", 8), "V-38", 2)
