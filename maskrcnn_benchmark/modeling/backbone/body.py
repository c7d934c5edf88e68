"""What every body has, and what body builders share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, NormFactory
from maskrcnn_benchmark.modeling.group_norm import build_group_norm

# Where a detector has its body: what the names of the body's entries begin with in its state dict.
BODY_PREFIX = "backbone.body."

NORMS: dict[str, NormFactory] = {
    "FrozenBN": FrozenBatchNorm2d,
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
}


class Body(nn.Module):
    """From images to feature maps, finest first: what necks, freezing and pretraining need of a body."""

    out_channels: tuple[int, ...]  # of each map
    strides: tuple[int, ...]  # of each map, in pixels of the image
    single_map = -1  # which of the maps stands alone where there is no pyramid

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
