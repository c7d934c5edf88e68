"""ResNets (He et al. 2016), ResNeXts (Xie et al. 2017) and wide ResNets (Zagoruyko and Komodakis 2016).

Modules are named as in the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.conv_block import ConvFactory
from maskrcnn_benchmark.layers.norm import NormFactory
from maskrcnn_benchmark.modeling.backbone.body import (
    ORDINARY,
    Body,
    StageConvs,
    build_stage_convs,
    make_norm_factory,
)
from maskrcnn_benchmark.modeling.backbone.resnet_blocks import BasicBlock, Bottleneck, Stem, conv3x3
from maskrcnn_benchmark.modeling.registry import BODIES


@dataclass(frozen=True)
class ResNetSpec:
    """Depth and widths. The channels of a stage are twice those of the stage before."""

    blocks: tuple[int, ...]  # blocks a stage
    bottleneck: bool = True  # bottlenecks, or basic blocks
    num_groups: int = 1  # of the bottlenecks' 3x3 convolutions
    width_per_group: int = 64  # of those convolutions in the first stage
    stem_channels: int = 64
    res2_channels: int = 256  # of the first stage's output; basic blocks give a quarter of it
    stride_in_1x1: bool = True  # where bottlenecks have their stride: the first 1x1, or the 3x3
    res5_dilation: int = 1  # above 1 the last stage keeps the size and dilates its 3x3 convolutions

    @property
    def out_channels(self) -> tuple[int, ...]:
        """The number of channels that each stage gives, in the order of the stages."""
        first = self.res2_channels if self.bottleneck else self.res2_channels // 4
        return tuple(first * 2**index for index in range(len(self.blocks)))

    def stage_in_channels(self, index: int) -> int:
        """The number of channels that stage `index` (from 0) is given: the stem's, or the stage's before."""
        return self.out_channels[index - 1] if index else self.stem_channels


RESNET_SPECS = {
    "R-18": ResNetSpec((2, 2, 2, 2), bottleneck=False),
    "R-34": ResNetSpec((3, 4, 6, 3), bottleneck=False),
    "R-50": ResNetSpec((3, 4, 6, 3)),
    "R-101": ResNetSpec((3, 4, 23, 3)),
    "R-152": ResNetSpec((3, 8, 36, 3)),
    "X-50-32x4d": ResNetSpec((3, 4, 6, 3), num_groups=32, width_per_group=4),
    "X-101-32x4d": ResNetSpec((3, 4, 23, 3), num_groups=32, width_per_group=4),
    "X-101-32x8d": ResNetSpec((3, 4, 23, 3), num_groups=32, width_per_group=8),
    "X-101-64x4d": ResNetSpec((3, 4, 23, 3), num_groups=64, width_per_group=4),
    "W-50-2": ResNetSpec((3, 4, 6, 3), width_per_group=128),
    "W-101-2": ResNetSpec((3, 4, 23, 3), width_per_group=128),
}


class ResNetStage(nn.Sequential):
    """Stage `index` (from 0: layer1) of a ResNet; halves the size, but for the first and a dilated last.

    make_conv: makes the 3x3 convolutions.
    """

    def __init__(
        self, spec: ResNetSpec, index: int, norm: NormFactory, make_conv: ConvFactory = conv3x3
    ) -> None:
        dilation = spec.res5_dilation if index == 3 else 1
        in_channels, out_channels = spec.stage_in_channels(index), spec.out_channels[index]
        blocks: list[nn.Module] = []
        for number in range(spec.blocks[index]):
            stride = 2 if index > 0 and number == 0 and dilation == 1 else 1
            if spec.bottleneck:
                width = spec.num_groups * spec.width_per_group * 2**index
                shape = (in_channels, width, out_channels, spec.num_groups, spec.stride_in_1x1, stride)
                blocks.append(Bottleneck(*shape, norm, dilation, make_conv))
            else:
                blocks.append(BasicBlock(in_channels, out_channels, stride, norm, dilation, make_conv))
            in_channels = out_channels
        super().__init__(*blocks)


class ResNet(Body):
    """Stem and stages; gives the stages' outputs, strides 4, 8, 16 and 32, finest first.

    num_stages: how many of the stages of `spec`; 3 is the C4 trunk, whose last stage is in the heads.
    stage_convs: what makes the 3x3 convolutions of each stage.
    """

    has_stage_convs = True

    def __init__(
        self,
        spec: ResNetSpec,
        norm: NormFactory,
        stem_norm: NormFactory,
        num_stages: int = 4,
        stage_convs: StageConvs = ORDINARY,
    ) -> None:
        super().__init__()
        self.out_channels = spec.out_channels[:num_stages]
        self.strides = tuple(4 * 2**index for index in range(num_stages))
        self.stem = Stem(spec.stem_channels, stem_norm)
        for index in range(num_stages):
            self.add_module(
                f"layer{index + 1}", ResNetStage(spec, index, norm, stage_convs[index] or conv3x3)
            )

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The stem and the stages in order, as FREEZE_CONV_BODY_AT counts them."""
        return (self.stem, *(self.get_submodule(f"layer{i + 1}") for i in range(len(self.out_channels))))


@BODIES.register(*RESNET_SPECS)
def build_resnet(cfg: ConfigNode, name: str) -> ResNet:
    """The whole body of that name.

    Raises ValueError for keys of MODEL.RESNETS that do not fit it.
    """
    spec = build_resnet_spec(cfg, name)
    if spec.res5_dilation != 1:
        raise ValueError(
            f"MODEL.RESNETS.RES5_DILATION = {spec.res5_dilation}: only the last stage as the head over a C4 "
            f"body dilates; with {cfg.MODEL.BACKBONE.CONV_BODY} leave it at 1"
        )
    return _build_resnet(cfg, spec, num_stages=4)


def build_c4_trunk(cfg: ConfigNode, name: str) -> ResNet:
    """The body of that name up to layer3 (He et al. 2016, appendix A): one map of stride 16 counts."""
    return _build_resnet(cfg, build_resnet_spec(cfg, name), num_stages=3)


def _build_resnet(cfg: ConfigNode, spec: ResNetSpec, num_stages: int) -> ResNet:
    norms = build_block_norm(cfg), _build_stem_norm(cfg)
    return ResNet(spec, *norms, num_stages, build_stage_convs(cfg))


def build_resnet_spec(cfg: ConfigNode, name: str) -> ResNetSpec:
    """The body of that name with the widths that MODEL.RESNETS gives it.

    Raises ValueError where MODEL.RESNETS names other groups than an X- or W- name, or groups of basic blocks.
    """
    resnets, spec = cfg.MODEL.RESNETS, RESNET_SPECS[name]
    groups, own = (resnets.NUM_GROUPS, resnets.WIDTH_PER_GROUP), (spec.num_groups, spec.width_per_group)
    if own == (1, 64) and spec.bottleneck:
        own = groups
    if groups not in (own, (1, 64)):
        raise ValueError(
            f"MODEL.RESNETS.NUM_GROUPS = {groups[0]}, WIDTH_PER_GROUP = {groups[1]}: {name} has {own[0]} and "
            f"{own[1]}; leave the keys out, or take R-50, R-101 or R-152"
        )
    return replace(
        spec,
        num_groups=own[0],
        width_per_group=own[1],
        stem_channels=resnets.STEM_OUT_CHANNELS,
        res2_channels=resnets.RES2_OUT_CHANNELS,
        stride_in_1x1=resnets.STRIDE_IN_1X1,
        res5_dilation=resnets.RES5_DILATION,
    )


def build_block_norm(cfg: ConfigNode) -> NormFactory:
    """The norm of the stages."""
    return make_norm_factory(cfg, _uses_group_norm("TRANS_FUNC", cfg.MODEL.RESNETS.TRANS_FUNC, "Bottleneck"))


def _build_stem_norm(cfg: ConfigNode) -> NormFactory:
    return make_norm_factory(cfg, _uses_group_norm("STEM_FUNC", cfg.MODEL.RESNETS.STEM_FUNC, "Stem"))


def _uses_group_norm(key: str, value: str, part: str) -> bool:
    """Which norm the family's class name stands for."""
    known = {f"{part}WithFixedBatchNorm": False, f"{part}WithGN": True}
    if value not in known:
        raise ValueError(f"MODEL.RESNETS.{key} = {value!r}: known are {', '.join(known)}")
    return known[value]
