"""The box head: classifies regions and refines their boxes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.box_regression import BoxRegressionLoss
from maskrcnn_benchmark.modeling.losses import LossSums
from maskrcnn_benchmark.modeling.registry import ROI_BOX_FEATURE_EXTRACTORS, ROI_BOX_PREDICTOR, ROI_HEADS
from maskrcnn_benchmark.modeling.roi_heads.box_head.loss import box_losses, encode_targets
from maskrcnn_benchmark.modeling.roi_heads.box_head.post_processing import BoxPostProcessor
from maskrcnn_benchmark.modeling.roi_heads.head import ROIHead
from maskrcnn_benchmark.modeling.roi_heads.regions import Regions
from maskrcnn_benchmark.structures.detections import Detections, SampledRois
from maskrcnn_benchmark.structures.targets import Targets


class ROIBoxHead(ROIHead):
    """Feature extractor and predictor, with two losses in training and post-processing at test."""

    detector_kind = "Faster R-CNN"
    iou_type = "bbox"

    def __init__(
        self,
        feature_extractor: nn.Module,
        predictor: nn.Module,
        post_processor: BoxPostProcessor,
        box_loss: BoxRegressionLoss,
        class_agnostic: bool = False,
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.predictor = predictor
        self.post_processor = post_processor
        self.box_loss = box_loss
        self.class_agnostic = class_agnostic

    @torch.no_grad()
    def box_targets(self, sampled: SampledRois, targets: Targets) -> Tensor:
        """Regression targets [N, R, 4] of the sampled regions."""
        return encode_targets(sampled, targets, self.box_loss.box_coder)

    def losses(
        self, regions: Regions, sampled: SampledRois, targets: Targets
    ) -> tuple[LossSums, SampledRois]:
        """loss_classifier and loss_box_reg; see ROIHead."""
        class_logits, box_regression = self.predictor(regions.extract(self.feature_extractor))
        classifier, box = box_losses(
            class_logits,
            box_regression,
            regions.take(sampled.labels),
            regions.take(self.box_targets(sampled, targets)),
            regions.take(sampled.boxes),
            self.box_loss,
            self.class_agnostic,
        )
        return {"loss_classifier": classifier, "loss_box_reg": box}, sampled

    def refine(self, regions: Regions, detections: Detections, image_hw: Tensor) -> Detections:
        """The detections among the regions, without fields; see ROIHead."""
        class_logits, box_regression = self.predictor(regions.extract(self.feature_extractor))
        return self.post_processor(
            regions.fill(class_logits), regions.fill(box_regression), detections, image_hw
        )


@ROI_HEADS.register("box")
def build_roi_box_head(
    cfg: ConfigNode, in_channels: int, heads: Mapping[str, ROIHead] | None = None
) -> ROIBoxHead:
    """The box head of MODEL.ROI_HEADS and MODEL.ROI_BOX_HEAD over features of `in_channels`; always on."""
    settings = cfg.MODEL.ROI_HEADS
    feature_extractor = ROI_BOX_FEATURE_EXTRACTORS[cfg.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR](cfg, in_channels)
    box_coder = BoxCoder(weights=tuple(settings.BBOX_REG_WEIGHTS))
    return ROIBoxHead(
        feature_extractor=feature_extractor,
        predictor=ROI_BOX_PREDICTOR[cfg.MODEL.ROI_BOX_HEAD.PREDICTOR](cfg, feature_extractor.out_channels),
        post_processor=BoxPostProcessor(
            settings.SCORE_THRESH,
            settings.NMS,
            settings.DETECTIONS_PER_IMG,
            box_coder,
            cfg.MODEL.CLS_AGNOSTIC_BBOX_REG,
        ),
        box_loss=BoxRegressionLoss(
            cfg.MODEL.BOX_REG_LOSS, box_coder, beta=1.0, weight=cfg.MODEL.BOX_REG_LOSS_WEIGHT
        ),
        class_agnostic=cfg.MODEL.CLS_AGNOSTIC_BBOX_REG,
    )
