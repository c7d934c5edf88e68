"""The two-stage detector: backbone, proposals, heads.

Sources: Ren et al., Faster R-CNN, figure 2; He et al., Mask R-CNN, figure 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.detector.interface import Detector, InputFormat, build_input_format
from maskrcnn_benchmark.modeling.losses import LossSums
from maskrcnn_benchmark.modeling.registry import DETECTORS
from maskrcnn_benchmark.modeling.roi_heads.pooler import check_pooler_scales
from maskrcnn_benchmark.modeling.roi_heads.roi_heads import CombinedROIHeads, build_roi_heads
from maskrcnn_benchmark.modeling.rpn.anchor_generator import check_anchor_strides
from maskrcnn_benchmark.modeling.rpn.rpn import RPN, build_rpn
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Detections
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.targets import Targets


class GeneralizedRCNN(Detector):
    """Regions are proposed on the feature maps; heads classify them, refine them and add masks."""

    def __init__(
        self,
        backbone: nn.Module,
        rpn: RPN,
        roi_heads: CombinedROIHeads,
        input_format: InputFormat,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(backbone, input_format, num_classes)
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.kind = roi_heads.detector_kind or "Generalized R-CNN"
        self.iou_types = roi_heads.iou_types
        self.target_fields = roi_heads.target_fields

    def losses(self, images: ImageList, targets: Targets) -> LossSums:
        """Those of the RPN and of every head."""
        features = self.backbone(self.normalize(images))
        proposals, rpn_losses = self.rpn(features, images.sizes, targets)
        return rpn_losses | self.roi_heads.losses(features, proposals, targets)

    def detect(self, images: ImageList) -> Detections:
        """What the heads make of the proposals."""
        features = self.backbone(self.normalize(images))
        proposals, _ = self.rpn(features, images.sizes)
        return self.roi_heads.detect(features, proposals, images.sizes)

    def to_boxlists(self, detections: Detections, image_sizes: Sequence[tuple[int, int]]) -> list[BoxList]:
        """One BoxList an image, with scores, labels and the fields of the heads."""
        return detections.to_boxlists(image_sizes, self.roi_heads.boxlist_fields)

    def dense_parts(self) -> list[nn.Module]:
        """Backbone and RPN head."""
        return [self.backbone, self.rpn.head]


@DETECTORS.register("GeneralizedRCNN")
def build_generalized_rcnn(cfg: ConfigNode, backbone: nn.Module) -> GeneralizedRCNN:
    """The two-stage detector of a config over `backbone`.

    Raises ValueError for an unknown head, with the nearest known names, and for anchors or poolers that are
    not for the backbone's maps.
    """
    strides = getattr(backbone, "strides", None)
    out_channels = cast(int, backbone.out_channels)
    check_anchor_strides("MODEL.RPN.ANCHOR_STRIDE", cfg.MODEL.RPN.ANCHOR_STRIDE, strides)
    model = GeneralizedRCNN(
        backbone=backbone,
        rpn=build_rpn(cfg, out_channels),
        roi_heads=build_roi_heads(cfg, out_channels),
        input_format=build_input_format(cfg),
        num_classes=cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES,
    )
    for name in model.roi_heads:
        section = f"ROI_{name.upper()}_HEAD"
        if section in cfg.MODEL and "POOLER_SCALES" in cfg.MODEL[section]:
            check_pooler_scales(f"MODEL.{section}.POOLER_SCALES", cfg.MODEL[section].POOLER_SCALES, strides)
    return model
