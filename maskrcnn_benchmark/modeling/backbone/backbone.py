"""From a config to a backbone: body and feature pyramid."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, NormFactory
from maskrcnn_benchmark.modeling.backbone.fpn import FPN, LastLevelMaxPool
from maskrcnn_benchmark.modeling.backbone.resnet import RESNET_BLOCKS, ResNet
from maskrcnn_benchmark.modeling.backbone.vovnet import VOVNET_SPECS, VoVNet
from maskrcnn_benchmark.modeling.group_norm import build_group_norm
from maskrcnn_benchmark.modeling.registry import BACKBONES


class Backbone(nn.Module):
    """A body and the pyramid over it. out_channels: of every level."""

    def __init__(self, body: nn.Module, fpn: FPN, out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = fpn
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images [N,3,H,W] -> levels [N,out_channels,Hi,Wi], strides 4, 8, 16, 32, 64, finest first."""
        return self.fpn(self.body(images))


class Body(Protocol):
    """What a builder needs of a body."""

    out_channels: tuple[int, ...]

    @property
    def stages(self) -> tuple[nn.Module, ...]: ...


def build_backbone(cfg: CfgNode) -> nn.Module:
    """The backbone that MODEL.BACKBONE.CONV_BODY names; has `out_channels` and gives maps, finest first.

    Raises:
        ValueError: unknown name, or a key that does not fit the body.
    """
    backbone: nn.Module = BACKBONES[cfg.MODEL.BACKBONE.CONV_BODY](cfg)
    return backbone.to(memory_format=torch.channels_last)


def make_norm_factory(cfg: CfgNode, use_group_norm: bool) -> NormFactory:
    """Group norm as MODEL.GROUP_NORM has it, or frozen batch norm."""
    if not use_group_norm:
        return FrozenBatchNorm2d
    return build_group_norm(cfg)


@BACKBONES.register(*(f"{name}-FPN" for name in VOVNET_SPECS))
def build_vovnet_fpn(cfg: CfgNode) -> Backbone:
    """A VoVNet body with FPN."""
    vovnet, spec = cfg.MODEL.VOVNET, VOVNET_SPECS[cfg.MODEL.BACKBONE.CONV_BODY.removesuffix("-FPN")]
    stage2_channels = spec.concat_channels[0]
    if stage2_channels != vovnet.OUT_CHANNELS:
        raise ValueError(
            f"MODEL.VOVNET.OUT_CHANNELS = {vovnet.OUT_CHANNELS}: the first stage of "
            f"{cfg.MODEL.BACKBONE.CONV_BODY} gives {stage2_channels} channels; set it to that"
        )
    body = VoVNet(spec, make_norm_factory(cfg, vovnet.USE_GN), recompute_concat=vovnet.RECOMPUTE_CONCAT)
    return _build_with_fpn(cfg, body, vovnet.BACKBONE_OUT_CHANNELS)


@BACKBONES.register(*(f"{name}-FPN" for name in RESNET_BLOCKS))
def build_resnet_fpn(cfg: CfgNode) -> Backbone:
    """A ResNet or ResNeXt body with FPN."""
    resnets = cfg.MODEL.RESNETS
    if resnets.RES5_DILATION != 1:
        raise ValueError(f"MODEL.RESNETS.RES5_DILATION = {resnets.RES5_DILATION}: FPN bodies take 1 only")
    body = ResNet(
        RESNET_BLOCKS[cfg.MODEL.BACKBONE.CONV_BODY.removesuffix("-FPN")],
        norm=make_norm_factory(cfg, _uses_group_norm("TRANS_FUNC", resnets.TRANS_FUNC, "Bottleneck")),
        stem_norm=make_norm_factory(cfg, _uses_group_norm("STEM_FUNC", resnets.STEM_FUNC, "Stem")),
        stem_out_channels=resnets.STEM_OUT_CHANNELS,
        res2_out_channels=resnets.RES2_OUT_CHANNELS,
        num_groups=resnets.NUM_GROUPS,
        width_per_group=resnets.WIDTH_PER_GROUP,
        stride_in_1x1=resnets.STRIDE_IN_1X1,
    )
    return _build_with_fpn(cfg, body, resnets.BACKBONE_OUT_CHANNELS)


def _uses_group_norm(key: str, value: str, part: str) -> bool:
    """Which norm the family's class name stands for."""
    known = {f"{part}WithFixedBatchNorm": False, f"{part}WithGN": True}
    if value not in known:
        raise ValueError(f"MODEL.RESNETS.{key} = {value!r}: known are {', '.join(known)}")
    return known[value]


def _build_with_fpn(cfg: CfgNode, body: VoVNet | ResNet, out_channels: int) -> Backbone:
    """Body and pyramid, with the stages below MODEL.BACKBONE.FREEZE_CONV_BODY_AT frozen."""
    _freeze(body, cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT)
    norm = make_norm_factory(cfg, True) if cfg.MODEL.FPN.USE_GN else None
    fpn = FPN(body.out_channels, out_channels, norm, cfg.MODEL.FPN.USE_RELU, LastLevelMaxPool())
    return Backbone(body, fpn, out_channels)


def _freeze(body: Body, freeze_at: int) -> None:
    """Takes the first `freeze_at` of stem, stage, stage, ... out of training; none below one."""
    if freeze_at > len(body.stages):
        raise ValueError(
            f"MODEL.BACKBONE.FREEZE_CONV_BODY_AT = {freeze_at}: the body has a stem and "
            f"{len(body.stages) - 1} stages; allowed are 0 (train everything) to {len(body.stages)}"
        )
    for stage in body.stages[: max(freeze_at, 0)]:
        stage.requires_grad_(False)
