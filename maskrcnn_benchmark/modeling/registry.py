"""The registries of the model's parts: names in a config -> builder functions."""

from __future__ import annotations

from maskrcnn_benchmark.utils.registry import Registry

BODIES = Registry("MODEL.BACKBONE.CONV_BODY")  # names without a neck ("V-39"): builder(cfg, name)
BACKBONES = Registry("MODEL.BACKBONE.CONV_BODY")  # names with a neck ("V-39-FPN"): builder(cfg)
DETECTORS = Registry("MODEL.META_ARCHITECTURE")  # builder(cfg, backbone) -> Detector
RPN_HEADS = Registry("MODEL.RPN.RPN_HEAD")
ROI_HEADS = Registry("MODEL.ROI_HEADS.EXTRA")  # builder(cfg, in_channels, heads before it) -> ROIHead | None
ROI_BOX_FEATURE_EXTRACTORS = Registry("MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR")
ROI_BOX_PREDICTOR = Registry("MODEL.ROI_BOX_HEAD.PREDICTOR")
ROI_MASK_FEATURE_EXTRACTORS = Registry("MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR")
ROI_MASK_PREDICTOR = Registry("MODEL.ROI_MASK_HEAD.PREDICTOR")
