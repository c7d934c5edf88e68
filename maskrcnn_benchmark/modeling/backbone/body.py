"""What every body and every neck has, and what body builders share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.conv_block import ConvFactory
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, NormFactory
from maskrcnn_benchmark.modeling.group_norm import build_group_norm
from maskrcnn_benchmark.modeling.registry import CONVOLUTIONS

# Where a detector has its body: what the names of the body's entries begin with in its state dict.
BODY_PREFIX = "backbone.body."

NORMS: dict[str, NormFactory] = {
    "FrozenBN": FrozenBatchNorm2d,
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
}
# One a stage after the stem; None stands for the body's ordinary convolution.
StageConvs = tuple[ConvFactory | None, ...]
ORDINARY: StageConvs = (None, None, None, None)


class Body(nn.Module):
    """From images to feature maps, finest first: what necks, freezing and pretraining need of a body."""

    out_channels: tuple[int, ...]  # of each map
    strides: tuple[int, ...]  # of each map, in pixels of the image
    single_map = -1  # which of the maps stands alone where there is no pyramid
    has_stage_convs = False  # whether its builder makes the convolutions that MODEL.BACKBONE.STAGE_CONV names

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The stem and the stages in order, as MODEL.BACKBONE.FREEZE_CONV_BODY_AT counts them."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images [N,3,H,W] -> maps [N,Ci,Hi,Wi], one a stage after the stem."""
        stem, *stages = self.stages
        x = stem(images.contiguous(memory_format=torch.channels_last))
        features = []
        for stage in stages:
            x = stage(x)
            features.append(x)
        return tuple(features)


class Neck(nn.Module):
    """From a body's maps to those that the detector works on, both finest first."""

    out_channels: int  # of every map that it gives

    def strides(self, body_strides: Sequence[int]) -> tuple[int, ...]:
        """The strides of its maps, from those of the body's."""
        raise NotImplementedError

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The body's maps -> maps [N,out_channels,Hi,Wi]."""
        raise NotImplementedError


def build_stage_convs(cfg: ConfigNode) -> StageConvs:
    """What MODEL.BACKBONE.STAGE_CONV names for the 3x3 convolutions of each stage; None for ordinary ones.

    Raises ValueError for an unknown name, and where there are not four.
    """
    names = cfg.MODEL.BACKBONE.STAGE_CONV
    if len(names) != len(ORDINARY):
        raise ValueError(
            f"MODEL.BACKBONE.STAGE_CONV = {tuple(names)!r} must hold {len(ORDINARY)} names, one a stage "
            "after the stem; '' is the ordinary convolution"
        )
    return tuple(CONVOLUTIONS[name](cfg) if name else None for name in names)


def make_norm_factory(cfg: ConfigNode, use_group_norm: bool) -> NormFactory:
    """The norm of a body: MODEL.BACKBONE.NORM, or where that is "", group norm or frozen batch norm.

    `use_group_norm`: what the family's keys for this body say.

    Raises ValueError for an unknown norm.
    """
    name = cfg.MODEL.BACKBONE.NORM or ("GN" if use_group_norm else "FrozenBN")
    if name == "GN":
        return build_group_norm(cfg)
    if name not in NORMS:
        raise ValueError(f"MODEL.BACKBONE.NORM = {name!r}: known are {', '.join([*NORMS, 'GN'])} and ''")
    return NORMS[name]
