"""The mask head: a small binary mask for each region, of its own class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers import rasterize_polygons
from maskrcnn_benchmark.modeling.registry import ROI_MASK_FEATURE_EXTRACTORS, ROI_MASK_PREDICTOR
from maskrcnn_benchmark.modeling.roi_heads.slots import (
    fill_slots,
    slots_to_compute,
    take_leading_slots,
    take_slots,
)
from maskrcnn_benchmark.structures.detections import Detections, SampledRois, to_rois
from maskrcnn_benchmark.structures.targets import PolygonBatch, Targets
from maskrcnn_benchmark.utils import comm

# Regions whose hidden maps the predictor holds at once in training.
_REGIONS_PER_PART = 64


class ROIMaskHead(nn.Module):
    """Feature extractor and predictor; the loss in training, mask logits of the detections at test."""

    def __init__(self, feature_extractor: nn.Module, predictor: nn.Module, resolution: int) -> None:
        """`resolution`: side M of the predicted masks."""
        super().__init__()
        self.feature_extractor = feature_extractor
        self.predictor = predictor
        self.resolution = resolution

    def losses(
        self,
        features: Sequence[Tensor],
        sampled: SampledRois,
        targets: Targets,
        max_positives: int,
        box_features: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """loss_mask over the positive regions; these stand in the first `max_positives` slots of each image.

        `box_features`: what the box head's `losses` gave, where both heads share the feature extractor.

        Raises ValueError where the targets have no masks.
        """
        if targets.polygons is None:
            raise ValueError("the mask head needs the field 'masks' in the targets (MODEL.MASK_ON is True)")
        boxes, labels = sampled.boxes[:, :max_positives], sampled.labels[:, :max_positives]
        is_positive = labels > 0
        slots = slots_to_compute(is_positive)
        with torch.no_grad():
            instance = instance_index(
                sampled.matched_gt[:, :max_positives], is_positive, targets.labels.shape[1]
            )
            instance = take_slots(instance.flatten(), slots)
            polygons, flat_boxes = targets.polygons, take_slots(boxes.flatten(0, 1), slots)
            mask_targets = rasterize_masks(polygons, instance, flat_boxes, self.resolution)
        labels = take_slots(labels.flatten(), slots).clamp(min=0)
        if box_features is None:
            x = self.feature_extractor(features, take_slots(to_rois(boxes, is_positive), slots))
        else:
            x = take_leading_slots(box_features, sampled.labels >= 0, max_positives, slots)
        logits = predict_in_parts(self.predictor, x, labels)
        return {"loss_mask": mask_loss(logits, mask_targets, labels > 0)}

    def add_masks(self, features: Sequence[Tensor], detections: Detections) -> Detections:
        """The detections with mask_logits [N, D, M, M] of their own classes."""
        slots = slots_to_compute(detections.valid)
        rois = take_slots(to_rois(detections.boxes, detections.valid), slots)
        labels = take_slots(detections.labels.flatten(), slots)
        logits = self.predictor(self.feature_extractor(features, rois), labels)
        shape = (detections.valid.shape[0], detections.valid.shape[1])
        return detections._replace(mask_logits=fill_slots(logits, slots, shape))


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


def mask_loss(logits: Tensor, mask_targets: Tensor, is_positive: Tensor) -> Tensor:
    """Mean binary cross-entropy of `logits` [K, M, M] over the positive regions [K] (Mask R-CNN, section
    3).
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), mask_targets.float(), reduction="none")
    num_pixels = comm.mean_count(is_positive.sum()) * logits.shape[-1] * logits.shape[-2]
    return (loss * is_positive.view(-1, 1, 1)).sum() / num_pixels


def build_roi_mask_head(cfg: ConfigNode, in_channels: int, box_feature_extractor: nn.Module) -> ROIMaskHead:
    """The mask head of MODEL.ROI_MASK_HEAD over features of `in_channels`.

    With SHARE_BOX_FEATURE_EXTRACTOR its extractor is the box head's, and so are the pooler's settings.

    Raises ValueError for sharing an extractor from which no masks can come.
    """
    head = cfg.MODEL.ROI_MASK_HEAD
    if head.SHARE_BOX_FEATURE_EXTRACTOR:
        name = cfg.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR
        if name not in ROI_MASK_FEATURE_EXTRACTORS:
            raise ValueError(
                f"MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR = True: the box head's {name} gives "
                "vectors, from which no masks come; set it to False, as the FPN configs have it, or share "
                f"{', '.join(ROI_MASK_FEATURE_EXTRACTORS)}"
            )
        feature_extractor = box_feature_extractor
    else:
        feature_extractor = ROI_MASK_FEATURE_EXTRACTORS[head.FEATURE_EXTRACTOR](cfg, in_channels)
    predictor = ROI_MASK_PREDICTOR[head.PREDICTOR](cfg, feature_extractor.out_channels)
    return ROIMaskHead(feature_extractor, predictor, head.RESOLUTION)
