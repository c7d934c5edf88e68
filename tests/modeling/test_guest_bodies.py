"""A body, a neck, a convolution and a box loss from a user's own file, outside the package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.modeling.backbone import Backbone, build_backbone
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.registry import (
    BACKBONES,
    BODIES,
    BOX_REG_LOSSES,
    CONVOLUTIONS,
    NECKS,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.user_module import import_user_module

ABSTRACTIONS = Path(__file__).parents[2] / "ABSTRACTIONS.md"
FPN = [
    *("MODEL.RPN.USE_FPN", "True", "MODEL.ROI_HEADS.USE_FPN", "True"),
    *("MODEL.RPN.ANCHOR_STRIDE", "(4, 8, 16, 32, 64)"),
    *("MODEL.ROI_BOX_HEAD.POOLER_SCALES", "(0.25, 0.125, 0.0625, 0.03125)"),
    *("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", "7", "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", "2"),
    *("MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR", "FPN2MLPFeatureExtractor"),
    *("MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNPredictor", "MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM", "32"),
    *("MODEL.FPN.OUT_CHANNELS", "32", "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", "0"),
]

GUESTS = '''
import torch
from torch import nn
from torchvision.ops import DeformConv2d

from maskrcnn_benchmark.modeling.backbone.backbone import make_backbone
from maskrcnn_benchmark.modeling.backbone.body import Neck
from maskrcnn_benchmark.modeling.registry import BODIES, BOX_REG_LOSSES, CONVOLUTIONS, NECKS


class Halving(Neck):
    """Each map to 8 channels, and every second pixel of it."""

    out_channels = 8

    def __init__(self, in_channels):
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(channels, 8, 1, stride=2) for channels in in_channels)

    def strides(self, body_strides):
        return tuple(2 * stride for stride in body_strides)

    def forward(self, features):
        return tuple(lateral(x) for lateral, x in zip(self.laterals, features))


@NECKS.register("Halving")
def build_with_halving(cfg, name):
    body = BODIES[name](cfg, name)
    return make_backbone(cfg, body, Halving(body.out_channels))


class Deformable(nn.Module):
    def __init__(self, in_channels, out_channels, stride, groups, dilation):
        super().__init__()
        geometry = dict(kernel_size=3, stride=stride, padding=dilation, dilation=dilation)
        self.offset = nn.Conv2d(in_channels, 18, **geometry)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)
        self.conv = DeformConv2d(in_channels, out_channels, groups=groups, bias=False, **geometry)
        nn.init.kaiming_uniform_(self.conv.weight, a=1)

    def forward(self, x):
        return self.conv(x, self.offset(x))


@CONVOLUTIONS.register("Deformable")
def build_deformable(cfg):
    return Deformable


@BOX_REG_LOSSES.register("corners")
def corner_loss(predictions, targets):
    return (predictions - targets).abs().sum(-1)
'''


@pytest.fixture
def registries() -> Iterator[None]:
    """Guests are gone after the test."""
    all_of_them = (BODIES, NECKS, BACKBONES, CONVOLUTIONS, BOX_REG_LOSSES)
    before = [dict(registry) for registry in all_of_them]
    yield
    for registry, content in zip(all_of_them, before, strict=True):
        registry.clear()
        registry.update(content)


@pytest.fixture
def guests(registries: None, tmp_path: Path) -> None:
    (tmp_path / "guests.py").write_text(GUESTS)
    import_user_module(str(tmp_path / "guests.py"), "IMPORTS")


@pytest.fixture
def my_body(registries: None, tmp_path: Path) -> None:
    """The example of ABSTRACTIONS.md, as it stands."""
    found = re.search(r"```python\n(.*?BODIES\.register.*?)```", ABSTRACTIONS.read_text(), re.DOTALL)
    assert found
    (tmp_path / "my_body.py").write_text(found[1])
    import_user_module(str(tmp_path / "my_body.py"), "IMPORTS")


def build(name: str, *opts: object) -> Backbone:
    cfg = load_config(None, ["MODEL.BACKBONE.CONV_BODY", name, "MODEL.FPN.OUT_CHANNELS", 16, *map(str, opts)])
    backbone = build_backbone(cfg)
    assert isinstance(backbone, Backbone)
    return backbone


def train_two_iterations(*opts: str) -> nn.Module:
    torch.manual_seed(0)
    model = build_detection_model(load_config(None, [*FPN, *opts])).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    target = BoxList([[8.0, 8.0, 90.0, 70.0], [30.0, 40.0, 60.0, 90.0]], (128, 96))
    target.add_field("labels", torch.tensor([3, 7]))
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
    for _ in range(2):
        losses = model([image], [target])
        total = torch.stack(list(losses.values())).sum()
        assert total.isfinite()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    return model


def test_the_documented_body_trains_and_detects(my_body: None) -> None:
    model = train_two_iterations("MODEL.BACKBONE.CONV_BODY", "My-Body-FPN")
    (found,) = model.eval()([torch.zeros(3, 96, 128, dtype=torch.uint8)])
    assert found.size == (128, 96)


@pytest.mark.parametrize(("neck", "num_maps"), [("FPN", 5), ("FPNLite", 5), ("C5", 1)])
def test_the_documented_body_stands_under_every_neck(neck: str, num_maps: int, my_body: None) -> None:
    backbone = build(f"My-Body-{neck}", "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 2)
    maps = backbone(torch.randn(1, 3, 64, 64))
    assert len(maps) == num_maps == len(backbone.strides)
    assert [tuple(x.shape[1:]) for x in maps] == [
        (backbone.out_channels, 64 // stride, 64 // stride) for stride in backbone.strides
    ]
    frozen = {name.split(".")[1] for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"stage0", "stage1"}


def test_a_neck_stands_on_every_body_also_on_one_that_came_before_it(my_body: None, guests: None) -> None:
    for name in ("My-Body", "V-27-slim", "R-18", "MobileNet-V2"):
        backbone = build(f"{name}-Halving")
        maps = backbone(torch.randn(1, 3, 64, 64))
        assert [tuple(x.shape[1:]) for x in maps] == [(8, 8, 8), (8, 4, 4), (8, 2, 2), (8, 1, 1)]
        assert backbone.strides == (8, 16, 32, 64)
        assert f"{name}-Halving" in BACKBONES


def test_a_name_is_taken_once(guests: None) -> None:
    with pytest.raises(AssertionError, match="registered twice"):
        NECKS.register("FPN")(lambda cfg, name: None)


@pytest.mark.parametrize("name", ["R-50-C5", "R-18-C5", "X-50-32x4d-C5", "V-27-slim-C5", "V2-19-slim-dw-C5"])
def test_a_stage_takes_another_convolution(name: str, guests: None) -> None:
    """Deformable convolutions with offsets of zero are ordinary ones: the same numbers with their weights."""
    stages = ("", "", "Deformable", "Deformable")
    plain, deformed = build(name), build(name, "MODEL.BACKBONE.STAGE_CONV", stages)
    names = {key.replace(".conv.weight", ".weight"): key for key in deformed.state_dict()}
    taken = [name for name, key in names.items() if name != key]
    number = {"R-50-C5": 9, "R-18-C5": 8, "X-50-32x4d-C5": 9, "V-27-slim-C5": 10, "V2-19-slim-dw-C5": 6}
    assert len(taken) == number[name]
    assert all("stage4" in key or "stage5" in key or "layer3" in key or "layer4" in key for key in taken)
    deformed.load_state_dict({names[key]: value for key, value in plain.state_dict().items()}, strict=False)
    images = torch.randn(1, 3, 64, 64)
    for training in (True, False):
        with torch.set_grad_enabled(training):
            (want,), (got,) = plain.train(training)(images), deformed.train(training)(images)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-4 * want.abs().max().item())
    deformed(images)[0].sum().backward()
    offsets = [p for key, p in deformed.named_parameters() if key.endswith("offset.weight")]
    assert len(offsets) == len(taken) and all(p.grad is not None for p in offsets)


def test_the_head_of_a_c4_model_is_the_last_stage(guests: None) -> None:
    options = ["MODEL.BACKBONE.STAGE_CONV", "('', '', '', 'Deformable')"]
    with torch.device("meta"):
        model = build_detection_model(load_config(None, options))
    deformable = [name for name in model.state_dict() if name.endswith("offset.weight")]
    assert len(deformable) == 3 and all(".layer4." in name for name in deformable)


def test_convolutions_that_nobody_would_make_are_refused(guests: None) -> None:
    stages = ("", "", "", "Deformable")
    for name in ("MobileNet-V2-FPN", "VGG-11-C5"):
        with pytest.raises(ValueError, match=r"STAGE_CONV.*takes ordinary convolutions only"):
            build(name, "MODEL.BACKBONE.STAGE_CONV", stages)
    with pytest.raises(ValueError, match=r"STAGE_CONV = 'Deform' is not known; nearest: Deformable"):
        build("R-18-FPN", "MODEL.BACKBONE.STAGE_CONV", ("", "", "", "Deform"))
    with pytest.raises(ValueError, match="must hold 4 names"):
        build("R-18-FPN", "MODEL.BACKBONE.STAGE_CONV", ("", "Deformable"))


def test_a_loss_of_the_users_own_trains(my_body: None, guests: None) -> None:
    calls = []
    loss = BOX_REG_LOSSES["corners"]

    def counted(predictions: Tensor, targets: Tensor) -> Tensor:
        calls.append(predictions.shape[-1])
        found: Tensor = loss(predictions, targets)
        return found

    BOX_REG_LOSSES["corners"] = counted
    train_two_iterations(
        *("MODEL.BACKBONE.CONV_BODY", "My-Body-FPN"),
        *("MODEL.BOX_REG_LOSS", "corners", "MODEL.RPN.BOX_REG_LOSS", "corners"),
    )
    assert calls == [4] * 4  # the RPN's and the box head's, twice
