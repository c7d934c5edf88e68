"""The registries of the model's parts: names in a config -> builder functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maskrcnn_benchmark.utils.registry import Builder, Registry


class _Halves(Registry):
    """Bodies, or necks: each makes a backbone with every one of the others, called BODY-NECK."""

    def register(self, *names: str) -> Callable[[Builder], Builder]:
        add = super().register(*names)

        def add_and_pair(builder: Builder) -> Builder:
            add(builder)
            _pair_bodies_with_necks()
            return builder

        return add_and_pair


BODIES = _Halves("MODEL.BACKBONE.CONV_BODY")  # "V-39": builder(cfg, name) -> backbone.body.Body
NECKS = _Halves("MODEL.BACKBONE.CONV_BODY")  # "FPN": builder(cfg, name of a body) -> backbone.Backbone
BACKBONES = Registry("MODEL.BACKBONE.CONV_BODY")  # "V-39-FPN": builder(cfg)
DETECTORS = Registry("MODEL.META_ARCHITECTURE")  # builder(cfg, backbone) -> Detector
CONVOLUTIONS = Registry("MODEL.BACKBONE.STAGE_CONV")  # builder(cfg) -> layers.conv_block.ConvFactory
RPN_HEADS = Registry("MODEL.RPN.RPN_HEAD")
ROI_HEADS = Registry("MODEL.ROI_HEADS.EXTRA")  # builder(cfg, in_channels, heads before it) -> ROIHead | None
ROI_BOX_FEATURE_EXTRACTORS = Registry("MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR")
ROI_BOX_PREDICTOR = Registry("MODEL.ROI_BOX_HEAD.PREDICTOR")
ROI_MASK_FEATURE_EXTRACTORS = Registry("MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR")
ROI_MASK_PREDICTOR = Registry("MODEL.ROI_MASK_HEAD.PREDICTOR")
# On boxes: (predictions [..., 4], targets [..., 4]) -> losses [...]; see layers/box_losses.py.
BOX_REG_LOSSES = Registry("MODEL.BOX_REG_LOSS, MODEL.RPN.BOX_REG_LOSS")


def _pair_bodies_with_necks() -> None:
    for body in BODIES:
        for neck in NECKS:
            BACKBONES.setdefault(f"{body}-{neck}", _make_pair_builder(body, neck))


def _make_pair_builder(body: str, neck: str) -> Callable[..., Any]:
    return lambda cfg: NECKS[neck](cfg, body)
