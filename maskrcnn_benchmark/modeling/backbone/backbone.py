"""From a config to a backbone: a body and what stands on it, its neck.

`MODEL.BACKBONE.CONV_BODY` is a body's name in `BODIES`, a hyphen and a neck's in `NECKS`: V-39-FPN. Each body
file registers its bodies when it is imported here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.backbone import mobilenet, resnet, vgg, vovnet, vovnet_v2  # noqa: F401
from maskrcnn_benchmark.modeling.backbone.body import Body, Neck
from maskrcnn_benchmark.modeling.backbone.fpn import FPN, LastLevelMaxPool
from maskrcnn_benchmark.modeling.group_norm import build_group_norm
from maskrcnn_benchmark.modeling.registry import BACKBONES, BODIES, NECKS


class Backbone(nn.Module):
    """A body and the neck over it; without one, the body's single map alone.

    The neck is the child `fpn` whatever it is. out_channels: of every map. strides: one a map, finest first.
    """

    def __init__(self, body: Body, fpn: Neck | None = None) -> None:
        super().__init__()
        self.body = body
        self.fpn = fpn
        single = body.single_map
        self.out_channels: int = body.out_channels[single] if fpn is None else fpn.out_channels
        self.strides: tuple[int, ...] = (body.strides[single],) if fpn is None else fpn.strides(body.strides)
        self.num_frozen_stages = 0

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images [N,3,H,W] -> maps [N,out_channels,Hi,Wi], finest first."""
        features = self.body(images)
        return (features[self.body.single_map],) if self.fpn is None else self.fpn(features)

    def freeze(self, num_stages: int) -> None:
        """Takes the first `num_stages` of the body's stem, stage, stage, ... out of training; none below one.

        Their batch norms keep their statistics as well.
        """
        stages = self.body.stages
        if num_stages > len(stages):
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_CONV_BODY_AT = {num_stages}: the body has a stem and "
                f"{len(stages) - 1} stages; allowed are 0 (train everything) to {len(stages)}"
            )
        self.num_frozen_stages = max(num_stages, 0)
        for stage in stages[: self.num_frozen_stages]:
            stage.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        for stage in self.body.stages[: self.num_frozen_stages]:
            for module in stage.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def build_backbone(cfg: ConfigNode) -> nn.Module:
    """The backbone that MODEL.BACKBONE.CONV_BODY names; has `out_channels` and gives maps, finest first.

    Raises:
        ValueError: unknown name, or a key that does not fit the body.
    """
    backbone: nn.Module = BACKBONES[cfg.MODEL.BACKBONE.CONV_BODY](cfg)
    return backbone.to(memory_format=torch.channels_last)


@NECKS.register("FPN")
def build_with_fpn(cfg: ConfigNode, name: str) -> Backbone:
    """The body `name` with a pyramid of one level a map, and one more."""
    return _build_pyramid(cfg, name, _make_fpn_channels(cfg, name))


@NECKS.register("FPNLite")
def build_with_fpn_lite(cfg: ConfigNode, name: str) -> Backbone:
    """The same with levels of half the usual width, as VoVNetV2's small detectors have it."""
    return _build_pyramid(cfg, name, cfg.MODEL.FPN.OUT_CHANNELS or 128)


def _build_pyramid(cfg: ConfigNode, name: str, channels: int) -> Backbone:
    body = BODIES[name](cfg, name)
    norm = build_group_norm(cfg) if cfg.MODEL.FPN.USE_GN else None
    fpn = FPN(body.out_channels, channels, norm, cfg.MODEL.FPN.USE_RELU, LastLevelMaxPool())
    return make_backbone(cfg, body, fpn)


@NECKS.register("C5")
def build_single_map(cfg: ConfigNode, name: str) -> Backbone:
    """The body `name` with one map alone: the last, but for VGG."""
    return make_backbone(cfg, BODIES[name](cfg, name), None)


def make_c4_builder(name: str) -> Callable[[ConfigNode], Backbone]:
    """A builder of the ResNet `name` up to layer3 and its last map alone; layer4 is the heads'."""
    return lambda cfg: make_backbone(cfg, resnet.build_c4_trunk(cfg, name), None)


def _make_fpn_channels(cfg: ConfigNode, name: str) -> int:
    """The channels of every level."""
    channels: int = cfg.MODEL.FPN.OUT_CHANNELS
    if channels:
        return channels
    if name.startswith(("V-", "V2-")):
        channels = cfg.MODEL.VOVNET.BACKBONE_OUT_CHANNELS
    elif name in resnet.RESNET_SPECS:
        channels = cfg.MODEL.RESNETS.BACKBONE_OUT_CHANNELS
    return channels or 256


def make_backbone(cfg: ConfigNode, body: Body, neck: Neck | None) -> Backbone:
    """Body and neck, or the body's single map; stages below MODEL.BACKBONE.FREEZE_CONV_BODY_AT are frozen.

    Raises ValueError where MODEL.BACKBONE.STAGE_CONV names convolutions that the body does not take.
    """
    if any(cfg.MODEL.BACKBONE.STAGE_CONV) and not body.has_stage_convs:
        raise ValueError(
            f"MODEL.BACKBONE.STAGE_CONV = {tuple(cfg.MODEL.BACKBONE.STAGE_CONV)!r}: the body of "
            f"{cfg.MODEL.BACKBONE.CONV_BODY} takes ordinary convolutions only; leave the key out, or take a "
            "ResNet or a VoVNet"
        )
    backbone = Backbone(body, neck)
    backbone.freeze(cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT)
    return backbone


for _name in resnet.RESNET_SPECS:
    BACKBONES.register(f"{_name}-C4")(make_c4_builder(_name))
