"""From a configuration to a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.detector.generalized_rcnn import GeneralizedRCNN
from maskrcnn_benchmark.modeling.roi_heads.roi_heads import build_roi_heads
from maskrcnn_benchmark.modeling.rpn.rpn import build_rpn


def build_detection_model(cfg: ConfigNode, backbone: nn.Module | None = None) -> GeneralizedRCNN:
    """The detector of a configuration, on the CPU, with random weights, laid out channels_last.

    `backbone`: takes the place of the one that MODEL.BACKBONE names; has `out_channels` and gives the maps
    that the configuration's anchors and poolers are for.

    Raises ValueError for an unknown body or head, with the nearest known names, and for anchors or poolers
    that are not for the backbone's maps.
    """
    if backbone is None:
        backbone = build_backbone(cfg)
    pooler_scales = {"ROI_BOX_HEAD": cfg.MODEL.ROI_BOX_HEAD.POOLER_SCALES}
    if cfg.MODEL.MASK_ON:
        pooler_scales["ROI_MASK_HEAD"] = cfg.MODEL.ROI_MASK_HEAD.POOLER_SCALES
    check_strides(getattr(backbone, "strides", None), cfg.MODEL.RPN.ANCHOR_STRIDE, pooler_scales)
    out_channels: int = backbone.out_channels  # type: ignore[assignment]
    model = GeneralizedRCNN(
        backbone=backbone,
        rpn=build_rpn(cfg, out_channels),
        roi_heads=build_roi_heads(cfg, out_channels),
        pixel_mean=cfg.INPUT.PIXEL_MEAN,
        pixel_std=cfg.INPUT.PIXEL_STD,
        to_bgr255=cfg.INPUT.TO_BGR255,
        size_divisible=cfg.DATALOADER.SIZE_DIVISIBILITY,
        num_classes=cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES,
    )
    model = model.to(memory_format=torch.channels_last)
    if cfg.MODEL.COMPILE:
        model.backbone.compile(fullgraph=True)
        model.rpn.head.compile(fullgraph=True)
    return model


def check_strides(
    strides: Sequence[int] | None, anchor_strides: Sequence[int], pooler_scales: Mapping[str, Sequence[float]]
) -> None:
    """Refuses anchors and poolers for other strides than those of the backbone's maps (None: not known).

    Poolers, here by section of MODEL, may leave the coarsest maps aside.
    """
    if strides is None:
        return
    wanted = tuple(strides)
    if tuple(anchor_strides) != wanted:
        raise ValueError(
            f"MODEL.RPN.ANCHOR_STRIDE = {tuple(anchor_strides)}: the backbone's maps have strides {wanted}"
        )
    for section, scales in pooler_scales.items():
        if tuple(round(1 / scale) for scale in scales) != wanted[: len(scales)]:
            raise ValueError(
                f"MODEL.{section}.POOLER_SCALES = {tuple(scales)}: one divided by the strides of the "
                f"backbone's maps, which are {wanted}; the coarsest may be left out"
            )
