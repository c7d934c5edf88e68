"""Every VoVNet, MobileNet and VGG by its name in a config: forward, backward, strides and channels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import cfg as defaults
from maskrcnn_benchmark.modeling.backbone import Backbone, build_backbone

FIRST_VERSION = ("V-27-slim", "V-39", "V-57", "V-69", "V-75", "V-93")
SECOND_VERSION = ("V2-19-slim-dw", "V2-19-slim", "V2-19-dw", "V2-19", "V2-39", "V2-57", "V2-99")
OTHERS = (
    "MobileNet-V2",
    "MobileNet-V3-large",
    *(f"VGG-{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "-BN")),
)
LARGE = ("V-69", "V-75", "V-93", "V2-57", "V2-99", "VGG-13", "VGG-13-BN", "VGG-19", "VGG-19-BN")
SIZES = ((64, 64), (33, 70))


def backbone_of(name: str) -> Backbone:
    """With narrow pyramids and plain random weights, which cost less time than the initialisation."""
    cfg = defaults.clone()
    cfg.merge_from_list(["MODEL.BACKBONE.CONV_BODY", name, "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0])
    cfg.merge_from_list(["MODEL.FPN.OUT_CHANNELS", 16])
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    assert isinstance(backbone, Backbone)
    backbone.to_empty(device="cpu")
    torch.manual_seed(0)
    for key, tensor in backbone.state_dict().items():
        if tensor.dim() == 4:
            bound = (6 / tensor[0].numel()) ** 0.5
            tensor.uniform_(-bound, bound)
        else:
            tensor.fill_(1.0 if key.endswith(("weight", "running_var")) else 0.0)
    return backbone


def check(backbone: Backbone, strides: tuple[int, ...]) -> None:
    """One map a stride, of its size within a pixel, and gradients of every parameter."""
    assert backbone.strides == strides
    for height, width in SIZES:
        backbone.zero_grad()
        maps = backbone(torch.randn(1, 3, height, width))
        for stride, one in zip(strides, maps, strict=True):
            assert one.shape[:2] == (1, backbone.out_channels)
            # an odd size is halved downward (VGG, VoVNet) or upward (MobileNet)
            assert abs(one.shape[2] - height / stride) <= 1 and abs(one.shape[3] - width / stride) <= 1
            assert bool(one.isfinite().all())
        loss: Tensor = torch.stack([one.square().mean() for one in maps]).sum()
        loss.backward()
        for key, parameter in backbone.named_parameters():
            assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), key


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in LARGE else ())
        for name in (*FIRST_VERSION, *SECOND_VERSION, *OTHERS)
    ],
)
def test_with_a_pyramid(name: str) -> None:
    check(backbone_of(f"{name}-FPN"), (4, 8, 16, 32, 64))


@pytest.mark.parametrize("name", ["V-27-slim", "MobileNet-V2", "VGG-11-BN"])
def test_single_map(name: str) -> None:
    check(backbone_of(f"{name}-C5"), (16,) if name.startswith("VGG") else (32,))


@pytest.mark.parametrize("name", ["V2-19-slim-dw", "V2-19"])
def test_with_the_light_pyramid(name: str) -> None:
    check(backbone_of(f"{name}-FPNLite"), (4, 8, 16, 32, 64))


def test_every_name_builds() -> None:
    """The second neck of each family, and the large members that only the slow tests run."""
    names = [f"{name}-C5" for name in (*FIRST_VERSION, *OTHERS)]
    names += [f"{name}-FPNLite" for name in SECOND_VERSION]
    names += [f"{name}-FPN" for name in LARGE]
    for name in names:
        cfg = defaults.clone()
        cfg.MODEL.BACKBONE.CONV_BODY = name
        with torch.device("meta"):
            backbone: nn.Module = build_backbone(cfg)
        assert isinstance(backbone, Backbone)
        single = (16,) if name.startswith("VGG") else (32,)
        assert backbone.strides == (single if name.endswith("-C5") else (4, 8, 16, 32, 64))
        channels = {"C5": backbone.body.out_channels[-1], "FPN": 256, "FPNLite": 128}
        assert backbone.out_channels == channels[name.rsplit("-", 1)[1]]
