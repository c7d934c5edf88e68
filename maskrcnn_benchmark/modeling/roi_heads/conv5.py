"""The head of the C4 models: a ResNet's last stage, run over each region (He et al. 2016, appendix A)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.conv_block import ConvFactory
from maskrcnn_benchmark.layers.norm import NormFactory
from maskrcnn_benchmark.modeling.backbone.body import build_stage_convs
from maskrcnn_benchmark.modeling.backbone.resnet import (
    RESNET_SPECS,
    ResNetSpec,
    ResNetStage,
    build_block_norm,
    build_resnet_spec,
)
from maskrcnn_benchmark.modeling.backbone.resnet_blocks import conv3x3
from maskrcnn_benchmark.modeling.registry import ROI_BOX_FEATURE_EXTRACTORS, ROI_MASK_FEATURE_EXTRACTORS
from maskrcnn_benchmark.modeling.roi_heads.pooler import Pooler, build_box_pooler, build_mask_pooler

NAME = "ResNet50Conv5ROIFeatureExtractor"
STAGE = 3  # of ResNetSpec.blocks: layer4


class ResNet50Conv5ROIFeatureExtractor(nn.Module):
    """layer4 of a ResNet over pooled regions; gives maps of half the pooler's size, or of all if it dilates.

    It carries the family's name, and is the head of every ResNet's C4 map.
    """

    def __init__(
        self, pooler: Pooler, spec: ResNetSpec, norm: NormFactory, make_conv: ConvFactory = conv3x3
    ) -> None:
        super().__init__()
        self.pooler = pooler
        self.head = nn.ModuleDict({"layer4": ResNetStage(spec, STAGE, norm, make_conv)})
        self.out_channels = spec.out_channels[STAGE]

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Region maps [K, out_channels, h, w] of `rois` [K, 5]."""
        x: Tensor = self.head["layer4"](self.pooler(features, rois))
        return x


@ROI_BOX_FEATURE_EXTRACTORS.register(NAME)
def build_box_conv5(cfg: ConfigNode, in_channels: int) -> ResNet50Conv5ROIFeatureExtractor:
    """The box head's extractor of the C4 configs."""
    return _build_conv5(cfg, in_channels, build_box_pooler)


@ROI_MASK_FEATURE_EXTRACTORS.register(NAME)
def build_mask_conv5(cfg: ConfigNode, in_channels: int) -> ResNet50Conv5ROIFeatureExtractor:
    """A mask head's own extractor; the C4 configs share the box head's instead."""
    return _build_conv5(cfg, in_channels, build_mask_pooler)


def _build_conv5(
    cfg: ConfigNode, in_channels: int, build_pooler: Callable[[ConfigNode], Pooler]
) -> ResNet50Conv5ROIFeatureExtractor:
    """layer4 of the ResNet that MODEL.BACKBONE.CONV_BODY names; of ResNet-50 over bodies of another kind.

    Raises ValueError where the map does not have the channels of that ResNet's layer3.
    """
    body = cfg.MODEL.BACKBONE.CONV_BODY.rpartition("-")[0]
    spec = build_resnet_spec(cfg, body if body in RESNET_SPECS else "R-50")
    if spec.stage_in_channels(STAGE) != in_channels:
        raise ValueError(
            f"{NAME} stands on a map of {spec.stage_in_channels(STAGE)} channels, "
            f"MODEL.BACKBONE.CONV_BODY = {cfg.MODEL.BACKBONE.CONV_BODY!r} gives {in_channels}: take a -C4 "
            "body, or FPN2MLPFeatureExtractor (boxes) and MaskRCNNFPNFeatureExtractor (masks)"
        )
    make_conv = build_stage_convs(cfg)[STAGE] or conv3x3
    return ResNet50Conv5ROIFeatureExtractor(build_pooler(cfg), spec, build_block_norm(cfg), make_conv)
