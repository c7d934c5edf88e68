"""The GroupNorm that MODEL.GROUP_NORM describes."""

from __future__ import annotations

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.norm import NormFactory, group_norm_factory


def build_group_norm(cfg: ConfigNode) -> NormFactory:
    """A factory of GroupNorm layers.

    Raises ValueError unless exactly one of NUM_GROUPS and DIM_PER_GP is positive.
    """
    norm = cfg.MODEL.GROUP_NORM
    return group_norm_factory(norm.NUM_GROUPS, norm.EPSILON, norm.DIM_PER_GP)
