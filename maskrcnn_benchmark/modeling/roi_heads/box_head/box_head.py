"""The box head: classifies regions and refines their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.box_regression import BoxRegressionLoss
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.registry import ROI_BOX_FEATURE_EXTRACTORS, ROI_BOX_PREDICTOR
from maskrcnn_benchmark.modeling.roi_heads.box_head.loss import box_losses, sample_rois
from maskrcnn_benchmark.modeling.roi_heads.box_head.post_processing import BoxPostProcessor
from maskrcnn_benchmark.modeling.roi_heads.slots import fill_slots, slots_to_compute, take_slots
from maskrcnn_benchmark.modeling.sampler import BalancedSampler
from maskrcnn_benchmark.structures.detections import Detections, Proposals, SampledRois, to_rois
from maskrcnn_benchmark.structures.targets import Targets


class ROIBoxHead(nn.Module):
    """Feature extractor and predictor, with sampling and losses in training, post-processing at test."""

    def __init__(
        self,
        feature_extractor: nn.Module,
        predictor: nn.Module,
        post_processor: BoxPostProcessor,
        matcher: Matcher,
        sampler: BalancedSampler,
        box_loss: BoxRegressionLoss,
        class_agnostic: bool = False,
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.predictor = predictor
        self.post_processor = post_processor
        self.matcher = matcher
        self.sampler = sampler
        self.box_loss = box_loss
        self.class_agnostic = class_agnostic

    @torch.no_grad()
    def sample(self, proposals: Proposals, targets: Targets) -> SampledRois:
        """The regions that the losses are over; draws at random where there are too many."""
        return sample_rois(proposals, targets, self.matcher, self.sampler, self.box_loss.box_coder)

    def losses(
        self, features: Sequence[Tensor], proposals: Proposals, targets: Targets
    ) -> tuple[SampledRois, dict[str, Tensor], Tensor]:
        """The sampled regions; loss_classifier and loss_box_reg over them; their features.

        The features [K, ...] are those of the slots that `slots_to_compute` gives for the sampled regions.
        """
        sampled = self.sample(proposals, targets)
        used = sampled.labels >= 0
        slots = slots_to_compute(used)
        rois = take_slots(to_rois(sampled.boxes, used), slots)
        region_features = self.feature_extractor(features, rois)
        class_logits, box_regression = self.predictor(region_features)
        classifier, box = box_losses(
            class_logits,
            box_regression,
            take_slots(sampled.labels.flatten(), slots),
            take_slots(sampled.box_targets.flatten(0, 1), slots),
            rois[:, 1:],
            self.box_loss,
            self.class_agnostic,
        )
        return sampled, {"loss_classifier": classifier, "loss_box_reg": box}, region_features

    def detect(self, features: Sequence[Tensor], proposals: Proposals, image_hw: Tensor) -> Detections:
        """Detections of a batch; `image_hw` [N, 2]."""
        slots = slots_to_compute(proposals.valid)
        rois = take_slots(to_rois(proposals.boxes, proposals.valid), slots)
        class_logits, box_regression = self.predictor(self.feature_extractor(features, rois))
        shape = (proposals.valid.shape[0], proposals.valid.shape[1])
        class_logits = fill_slots(class_logits, slots, shape)
        box_regression = fill_slots(box_regression, slots, shape)
        return self.post_processor(class_logits, box_regression, proposals, image_hw)


def build_roi_box_head(cfg: ConfigNode, in_channels: int) -> ROIBoxHead:
    """The box head of MODEL.ROI_HEADS and MODEL.ROI_BOX_HEAD over features of `in_channels`."""
    heads = cfg.MODEL.ROI_HEADS
    feature_extractor = ROI_BOX_FEATURE_EXTRACTORS[cfg.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR](cfg, in_channels)
    box_coder = BoxCoder(weights=tuple(heads.BBOX_REG_WEIGHTS))
    return ROIBoxHead(
        feature_extractor=feature_extractor,
        predictor=ROI_BOX_PREDICTOR[cfg.MODEL.ROI_BOX_HEAD.PREDICTOR](cfg, feature_extractor.out_channels),
        post_processor=BoxPostProcessor(
            heads.SCORE_THRESH,
            heads.NMS,
            heads.DETECTIONS_PER_IMG,
            box_coder,
            cfg.MODEL.CLS_AGNOSTIC_BBOX_REG,
        ),
        matcher=Matcher(heads.FG_IOU_THRESHOLD, heads.BG_IOU_THRESHOLD),
        sampler=BalancedSampler(heads.BATCH_SIZE_PER_IMAGE, heads.POSITIVE_FRACTION),
        box_loss=BoxRegressionLoss(
            cfg.MODEL.BOX_REG_LOSS, box_coder, beta=1.0, weight=cfg.MODEL.BOX_REG_LOSS_WEIGHT
        ),
        class_agnostic=cfg.MODEL.CLS_AGNOSTIC_BBOX_REG,
    )
