"""From a config to a backbone: a body and what stands on it, its neck.

`MODEL.BACKBONE.CONV_BODY` is a body's name in `BODIES`, a hyphen and a neck: V-39-FPN. Each body file
registers its bodies when it is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.backbone import mobilenet, resnet, vgg, vovnet, vovnet_v2
from maskrcnn_benchmark.modeling.backbone.body import Body
from maskrcnn_benchmark.modeling.backbone.fpn import FPN, LastLevelMaxPool
from maskrcnn_benchmark.modeling.group_norm import build_group_norm
from maskrcnn_benchmark.modeling.registry import BACKBONES, BODIES


class Backbone(nn.Module):
    """A body and the pyramid over it; without one, the body's single map alone.

    out_channels: of every map. strides: one a map, finest first.
    """

    def __init__(self, body: Body, fpn: FPN | None = None) -> None:
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


def build_with_fpn(cfg: ConfigNode, name: str) -> Backbone:
    """The body `name` with a pyramid of one level a map, and one more."""
    return _build_pyramid(cfg, name, _make_fpn_channels(cfg, name))


def build_with_fpn_lite(cfg: ConfigNode, name: str) -> Backbone:
    """The same with levels of half the usual width, as VoVNetV2's small detectors have it."""
    return _build_pyramid(cfg, name, cfg.MODEL.FPN.OUT_CHANNELS or 128)


def _build_pyramid(cfg: ConfigNode, name: str, channels: int) -> Backbone:
    body = BODIES[name](cfg, name)
    norm = build_group_norm(cfg) if cfg.MODEL.FPN.USE_GN else None
    fpn = FPN(body.out_channels, channels, norm, cfg.MODEL.FPN.USE_RELU, LastLevelMaxPool())
    return _make_backbone(cfg, body, fpn)


def build_single_map(cfg: ConfigNode, name: str) -> Backbone:
    """The body `name` with one map alone: the last, but for VGG."""
    return _make_backbone(cfg, BODIES[name](cfg, name), None)


def build_c4(cfg: ConfigNode, name: str) -> Backbone:
    """The ResNet `name` up to layer3 and its last map alone; layer4 is the heads'."""
    return _make_backbone(cfg, resnet.build_c4_trunk(cfg, name), None)


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


def _make_backbone(cfg: ConfigNode, body: Body, fpn: FPN | None) -> Backbone:
    """Body and neck, with the stages below MODEL.BACKBONE.FREEZE_CONV_BODY_AT frozen."""
    backbone = Backbone(body, fpn)
    backbone.freeze(cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT)
    return backbone


NeckBuilder = Callable[[ConfigNode, str], Backbone]

NECKS: dict[str, NeckBuilder] = {
    "FPN": build_with_fpn,
    "FPNLite": build_with_fpn_lite,
    "C5": build_single_map,
}
BODY_FILES = (vovnet, vovnet_v2, resnet, mobilenet, vgg)  # importing them filled BODIES


def add_necks(names: Iterable[str], necks: Mapping[str, NeckBuilder]) -> None:
    """Registers bodies of BODIES under necks: V-39 as V-39-FPN, V-39-FPNLite, V-39-C5."""
    for name in names:
        for neck, build in necks.items():
            BACKBONES.register(f"{name}-{neck}")(make_builder(build, name))


def make_builder(build: NeckBuilder, name: str) -> Callable[[ConfigNode], Backbone]:
    """`build` for the body `name`."""
    return lambda cfg: build(cfg, name)


add_necks(BODIES, NECKS)
add_necks(resnet.RESNET_SPECS, {"C4": build_c4})
