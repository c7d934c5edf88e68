"""The GroupNorm that MODEL.GROUP_NORM describes."""

from __future__ import annotations

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.norm import NormFactory, group_norm_factory


def build_group_norm(cfg: ConfigNode) -> NormFactory:
    """A factory of GroupNorm layers; MODEL.GROUP_NORM.DIM_PER_GP, where positive, takes the place of
    NUM_GROUPS.
    """
    norm = cfg.MODEL.GROUP_NORM
    num_groups = -1 if norm.DIM_PER_GP > 0 else norm.NUM_GROUPS
    return group_norm_factory(num_groups, norm.EPSILON, norm.DIM_PER_GP)
