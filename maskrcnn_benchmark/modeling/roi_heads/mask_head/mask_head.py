"""The mask head: a small binary mask for each region, of its own class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers import rasterize_polygons
from maskrcnn_benchmark.modeling.losses import LossSum, LossSums
from maskrcnn_benchmark.modeling.registry import (
    ROI_HEADS,
    ROI_MASK_FEATURE_EXTRACTORS,
    ROI_MASK_PREDICTOR,
)
from maskrcnn_benchmark.modeling.roi_heads.head import ROIHead
from maskrcnn_benchmark.modeling.roi_heads.regions import Regions
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Detections, SampledRois
from maskrcnn_benchmark.structures.targets import PolygonBatch, Targets

# Regions whose hidden maps the predictor holds at once in training.
_REGIONS_PER_PART = 64


class ROIMaskHead(ROIHead):
    """Feature extractor and predictor; the loss in training, mask logits of the detections at test."""

    detector_kind = "Mask R-CNN"
    iou_type = "segm"

    def __init__(self, feature_extractor: nn.Module, predictor: nn.Module, resolution: int) -> None:
        """`resolution`: side M of the predicted masks."""
        super().__init__()
        self.feature_extractor = feature_extractor
        self.predictor = predictor
        self.resolution = resolution

    def losses(
        self, regions: Regions, sampled: SampledRois, targets: Targets
    ) -> tuple[LossSums, SampledRois]:
        """loss_mask over the positive regions; see ROIHead.

        Raises ValueError where the targets have no masks.
        """
        if targets.polygons is None:
            raise ValueError("the mask head needs the field 'masks' in the targets (MODEL.MASK_ON is True)")
        positives = sampled.positives()
        is_positive = positives.labels > 0
        regions = regions.leading(is_positive)
        with torch.no_grad():
            instance = instance_index(positives.matched_gt, is_positive, targets.labels.shape[1])
            boxes = regions.take(positives.boxes)
            mask_targets = rasterize_masks(targets.polygons, regions.take(instance), boxes, self.resolution)
        labels = regions.take(positives.labels).clamp(min=0)
        logits = predict_in_parts(self.predictor, regions.extract(self.feature_extractor), labels)
        return {"loss_mask": mask_loss(logits, mask_targets, labels > 0)}, sampled

    def refine(self, regions: Regions, detections: Detections, image_hw: Tensor) -> Detections:
        """The detections with mask_logits [N, D, M, M] of their own classes; see ROIHead."""
        logits = self.predictor(regions.extract(self.feature_extractor), regions.take(detections.labels))
        return detections.with_field("mask_logits", regions.fill(logits))

    def boxlist_fields(self, boxlist: BoxList, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """Field mask: probabilities [n, 1, M, M]."""
        return {"mask": fields["mask_logits"].float().sigmoid().unsqueeze(1)}


def predict_in_parts(predictor: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """predictor(x, labels), of which backward keeps x alone: x [K, D, h, w], labels [K] -> [K, 2h, 2w].

    The predictor's hidden maps are four times as large as the regions' and would be the largest thing that a
    training step holds. They are computed again in backward, for some of the regions at a time.
    """
    if not torch.is_grad_enabled():
        return predictor(x, labels)
    parts = zip(x.split(_REGIONS_PER_PART), labels.split(_REGIONS_PER_PART), strict=True)
    logits = [checkpoint(predictor, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    return torch.cat(logits)


def instance_index(matched_gt: Tensor, is_positive: Tensor, num_gt: int) -> Tensor:
    """Instance of a PolygonBatch for each region [N, R] from its ground-truth slot; -1 where not positive."""
    image = torch.arange(matched_gt.shape[0], device=matched_gt.device).unsqueeze(1)
    return (image * num_gt + matched_gt).masked_fill(~is_positive, -1)


def rasterize_masks(polygons: PolygonBatch, instance: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Mask targets [K, size, size] uint8: the polygons of `instance` [K] within `boxes` [K, 4]."""
    coords, polygon_starts, instance_starts = polygons
    return rasterize_polygons(coords, polygon_starts, instance_starts, instance, boxes, size)


def mask_loss(logits: Tensor, mask_targets: Tensor, is_positive: Tensor) -> LossSum:
    """Binary cross-entropy of `logits` [K, M, M] over the pixels of positive regions [K] (Mask R-CNN, 3)."""
    loss = F.binary_cross_entropy_with_logits(logits.float(), mask_targets.float(), reduction="none")
    num_pixels = is_positive.sum() * logits.shape[-1] * logits.shape[-2]
    return LossSum((loss * is_positive.view(-1, 1, 1)).sum(), num_pixels)


@ROI_HEADS.register("mask")
def build_roi_mask_head(
    cfg: ConfigNode, in_channels: int, heads: Mapping[str, ROIHead]
) -> ROIMaskHead | None:
    """The mask head of MODEL.ROI_MASK_HEAD over features of `in_channels`; None without MODEL.MASK_ON.

    With SHARE_BOX_FEATURE_EXTRACTOR its extractor is that of the box head among `heads`, and so are the
    pooler's settings.

    Raises ValueError for sharing an extractor from which no masks can come.
    """
    if not cfg.MODEL.MASK_ON:
        return None
    head = cfg.MODEL.ROI_MASK_HEAD
    if head.SHARE_BOX_FEATURE_EXTRACTOR:
        name = cfg.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR
        if name not in ROI_MASK_FEATURE_EXTRACTORS:
            raise ValueError(
                f"MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR = True: the box head's {name} gives "
                "vectors, from which no masks come; set it to False, as the FPN configs have it, or share "
                f"{', '.join(ROI_MASK_FEATURE_EXTRACTORS)}"
            )
        feature_extractor = cast(nn.Module, heads["box"].feature_extractor)
    else:
        feature_extractor = ROI_MASK_FEATURE_EXTRACTORS[head.FEATURE_EXTRACTOR](cfg, in_channels)
    predictor = ROI_MASK_PREDICTOR[head.PREDICTOR](cfg, feature_extractor.out_channels)
    return ROIMaskHead(feature_extractor, predictor, head.RESOLUTION)
