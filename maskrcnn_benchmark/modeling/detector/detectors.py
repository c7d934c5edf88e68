"""From a config to a detector."""

from __future__ import annotations

import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.detector import generalized_rcnn  # noqa: F401  # registers its detector
from maskrcnn_benchmark.modeling.detector.interface import Detector
from maskrcnn_benchmark.modeling.registry import DETECTORS


def build_detection_model(cfg: ConfigNode, backbone: nn.Module | None = None) -> Detector:
    """The detector that MODEL.META_ARCHITECTURE names, on the CPU, with random weights, channels_last.

    `backbone`: takes the place of the one that MODEL.BACKBONE names; has `out_channels` and gives the maps
    that the configuration's anchors and poolers are for.

    Raises ValueError for an unknown detector, body or head, with the nearest known names, and where the parts
    do not fit together.
    """
    build = DETECTORS[cfg.MODEL.META_ARCHITECTURE]
    detector: Detector = build(cfg, build_backbone(cfg) if backbone is None else backbone)
    detector = detector.to(memory_format=torch.channels_last)
    if cfg.MODEL.COMPILE:
        for part in detector.dense_parts():
            part.compile(fullgraph=True)
    return detector
