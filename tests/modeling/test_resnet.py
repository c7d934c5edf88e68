"""Every ResNet, ResNeXt and wide ResNet against torchvision's: names, shapes, counts, maps; norms; errors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.config import cfg as defaults
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, GroupNorm
from maskrcnn_benchmark.modeling.backbone import Backbone, build_backbone
from maskrcnn_benchmark.modeling.backbone.resnet import (
    RESNET_SPECS,
    ResNet,
    ResNetSpec,
    ResNetStage,
    build_resnet,
)

TORCHVISION = {
    "R-18": "resnet18",
    "R-34": "resnet34",
    "R-50": "resnet50",
    "R-101": "resnet101",
    "R-152": "resnet152",
    "X-50-32x4d": "resnext50_32x4d",
    "X-101-32x8d": "resnext101_32x8d",
    "X-101-64x4d": "resnext101_64x4d",
    "W-50-2": "wide_resnet50_2",
    "W-101-2": "wide_resnet101_2",
}
SIZES = [(64, 32), (43, 53)]


def config(*opts: object) -> ConfigNode:
    cfg = defaults.clone()
    cfg.merge_from_list(["MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0, "MODEL.FPN.OUT_CHANNELS", 16])
    cfg.merge_from_list(["MODEL.RESNETS.STRIDE_IN_1X1", False, *opts])
    return cfg


def backbone_of(name: str, *opts: object) -> Backbone:
    backbone = build_backbone(config("MODEL.BACKBONE.CONV_BODY", name, *opts))
    assert isinstance(backbone, Backbone)
    return backbone


def narrow(name: str, *opts: object) -> Backbone:
    """A backbone of the shape of `name` with a quarter of its channels."""
    widths = ("MODEL.RESNETS.STEM_OUT_CHANNELS", 16, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64)
    return backbone_of(name, *widths, *opts)


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's entries of the trunk under this project's names."""
    return {
        name if name.startswith("layer") else f"stem.{name}": tensor
        for name, tensor in state.items()
        if not name.startswith("fc.")
    }


@pytest.mark.parametrize("name", TORCHVISION)
def test_entries_and_parameters_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(TORCHVISION[name])
        body = build_resnet(config("MODEL.BACKBONE.NORM", "BN"), name)
    ours = {key: tensor.shape for key, tensor in body.state_dict().items()}
    assert ours == {key: tensor.shape for key, tensor in renamed(theirs.state_dict()).items()}
    classifier = 1000 * body.out_channels[-1] + 1000
    counted = sum(parameter.numel() for parameter in body.parameters()) + classifier
    assert counted == sum(parameter.numel() for parameter in theirs.parameters())


def test_the_member_that_torchvision_does_not_have() -> None:
    """X-101-32x4d against torchvision's ResNet class with those groups and widths."""
    with torch.device("meta"):
        body = build_resnet(config("MODEL.BACKBONE.NORM", "BN"), "X-101-32x4d")
        bottleneck = torchvision.models.resnet.Bottleneck
        theirs = torchvision.models.ResNet(bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)
    assert set(RESNET_SPECS) - set(TORCHVISION) == {"X-101-32x4d"}
    ours = {key: tensor.shape for key, tensor in body.state_dict().items()}
    assert ours == {key: tensor.shape for key, tensor in renamed(theirs.state_dict()).items()}


@pytest.mark.parametrize("name", ["R-18", "X-50-32x4d"])  # test_backbone_bodies.py
def test_maps_are_torchvisions(name: str) -> None:
    """Four strides; with the batch's own statistics too, in float64, as a coarse map has few values."""
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(TORCHVISION[name])
    for key, tensor in theirs.state_dict().items():
        if tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5) if key.endswith(("weight", "var")) else tensor.normal_(std=0.1)
    body = build_resnet(config("MODEL.BACKBONE.NORM", "BN"), name)
    body.load_state_dict(renamed(theirs.state_dict()))
    assert_same_maps(body.eval(), theirs.eval(), torch.randn(1, 3, 64, 96))
    if name == "R-18":
        assert_same_maps(body.double().train(), theirs.double().train(), torch.randn(2, 3, 64, 64).double())


def assert_same_maps(body: ResNet, theirs: torchvision.models.ResNet, images: Tensor) -> None:
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        for ours, index in zip(body(images), (1, 2, 3, 4), strict=True):
            x = theirs.get_submodule(f"layer{index}")(x)
            torch.testing.assert_close(ours, x, rtol=0, atol=1e-4 * x.abs().max().item())


@pytest.mark.parametrize("name", RESNET_SPECS)
def test_forward_and_backward_at_two_sizes(name: str) -> None:
    """A quarter as wide, and filled with averages: random weights would take most of the time."""
    plain = name.startswith("R-") and name not in ("R-18", "R-34")
    with torch.device("meta"):
        backbone = narrow(f"{name}-FPN", *(("MODEL.RESNETS.WIDTH_PER_GROUP", 16) if plain else ()))
    backbone = backbone.to_empty(device="cpu")
    with torch.no_grad():
        for key, tensor in backbone.state_dict().items():
            tensor.fill_(0.0 if key.endswith(("bias", "mean")) else tensor.shape[0] / tensor.numel())
    run_at_two_sizes(backbone, name, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", RESNET_SPECS)
def test_forward_and_backward_at_full_width(name: str) -> None:
    run_at_two_sizes(backbone_of(f"{name}-FPN"), name, 1)


def run_at_two_sizes(backbone: Backbone, name: str, narrower: int) -> None:
    assert backbone.strides == (4, 8, 16, 32, 64) and backbone.out_channels == 16
    assert backbone.body.strides == (4, 8, 16, 32)
    first = (64 if name in ("R-18", "R-34") else 256) // narrower
    assert backbone.body.out_channels == (first, 2 * first, 4 * first, 8 * first)
    for size in SIZES:
        maps = backbone(torch.randn(1, 3, *size))
        for feature, stride in zip(maps, backbone.strides, strict=True):
            assert feature.shape == (1, 16, -(-size[0] // stride), -(-size[1] // stride))
        sum(feature.mean() for feature in maps).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@pytest.mark.parametrize("name", ["R-18", "R-50", "X-101-32x8d"])
def test_single_maps(name: str) -> None:
    channels = RESNET_SPECS[name].out_channels
    with torch.device("meta"):
        c4, c5 = backbone_of(f"{name}-C4"), backbone_of(f"{name}-C5")
        image = torch.empty(1, 3, 64, 96)
        (coarse,), (coarser,) = c4(image), c5(image)
    assert (c4.strides, c4.out_channels) == ((16,), channels[2]) and coarse.shape == (1, channels[2], 4, 6)
    assert (c5.strides, c5.out_channels) == ((32,), channels[3]) and coarser.shape == (1, channels[3], 2, 3)
    assert not any(key.startswith(("body.layer4", "fpn")) for key in c4.state_dict())


def test_fpn_lite_is_the_pyramid_with_half_the_channels() -> None:
    with torch.device("meta"):
        lite = build_backbone(config("MODEL.BACKBONE.CONV_BODY", "R-50-FPNLite", "MODEL.FPN.OUT_CHANNELS", 0))
        half = backbone_of("R-50-FPN", "MODEL.FPN.OUT_CHANNELS", 128)
    assert lite.out_channels == 128
    shapes = [{key: tensor.shape for key, tensor in model.state_dict().items()} for model in (lite, half)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        ("", FrozenBatchNorm2d),
        ("FrozenBN", FrozenBatchNorm2d),
        ("BN", nn.BatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("GN", GroupNorm),
    ],
)
def test_norms(norm: str, kind: type[nn.Module]) -> None:
    backbone = narrow("R-18-FPN", "MODEL.BACKBONE.NORM", norm, "MODEL.GROUP_NORM.NUM_GROUPS", 8)
    norms = [module for name, module in backbone.body.named_modules() if "bn" in name.rsplit(".", 1)[-1]]
    assert norms and all(type(module) is kind for module in norms)
    sum(feature.mean() for feature in backbone(torch.randn(2, 3, 64, 64))).backward()
    if norm == "BN":
        assert isinstance(norms[0], nn.BatchNorm2d) and norms[0].eps == 1e-5
        assert norms[0].num_batches_tracked == 1


def test_frozen_stages_keep_their_statistics() -> None:
    backbone = narrow("R-18-FPN", "MODEL.BACKBONE.NORM", "BN", "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 2)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    backbone.eval()
    backbone.train()(torch.randn(2, 3, 64, 64))
    changed = {key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[key])}
    stages = {".".join(key.split(".")[:2]) for key in changed}
    assert stages == {"body.layer2", "body.layer3", "body.layer4"}


def test_a_dilated_last_stage_keeps_the_size_and_the_field() -> None:
    """Every second pixel of the dilated stage is the plain stage's pixel, but for the border."""
    torch.manual_seed(0)
    spec = ResNetSpec((1, 1, 1, 1), stem_channels=8, res2_channels=16, width_per_group=4)
    plain = ResNetStage(spec, 3, FrozenBatchNorm2d)
    dilated = ResNetStage(replace(spec, res5_dilation=2), 3, FrozenBatchNorm2d)
    dilated.load_state_dict(plain.state_dict())
    x = torch.randn(1, 64, 14, 14)
    ours, theirs = dilated(x), plain(x)
    assert ours.shape == (1, 128, 14, 14)
    torch.testing.assert_close(ours[..., ::2, ::2], theirs)


@pytest.mark.parametrize(
    ("name", "opts", "message"),
    [
        ("R-20-FPN", (), r"CONV_BODY = 'R-20-FPN'.*nearest: .*R-50-FPN"),
        ("V-39-C4", (), r"CONV_BODY = 'V-39-C4'.*nearest: .*V-39-C5"),
        ("R-50-FPN", ("MODEL.BACKBONE.NORM", "bn"), r"NORM = 'bn'.*FrozenBN, BN, SyncBN, GN"),
        ("X-50-32x4d-FPN", ("MODEL.RESNETS.NUM_GROUPS", 64), r"NUM_GROUPS = 64.*X-50-32x4d has 32 and 4"),
        ("R-18-FPN", ("MODEL.RESNETS.WIDTH_PER_GROUP", 8), r"WIDTH_PER_GROUP = 8: R-18 has 1 and 64"),
        ("R-50-C5", ("MODEL.RESNETS.RES5_DILATION", 2), r"RES5_DILATION = 2.*C4 body"),
        ("R-50-C4", ("MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 5), r"FREEZE_CONV_BODY_AT = 5.*0 .* to 4"),
    ],
)
def test_errors_name_the_key_and_the_mend(name: str, opts: tuple[object, ...], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        backbone_of(name, *opts)
