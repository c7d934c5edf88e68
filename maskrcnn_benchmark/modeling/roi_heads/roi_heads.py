"""The heads that look at regions: boxes, and masks where asked for."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.roi_heads.box_head.box_head import ROIBoxHead, build_roi_box_head
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import ROIMaskHead, build_roi_mask_head
from maskrcnn_benchmark.structures.detections import Detections, Proposals
from maskrcnn_benchmark.structures.targets import Targets


class CombinedROIHeads(nn.Module):
    """The box head, and the mask head on what it sampled or detected."""

    def __init__(self, box: ROIBoxHead, mask: ROIMaskHead | None = None) -> None:
        super().__init__()
        self.box = box
        if mask is not None:
            self.mask = mask
        self.has_mask = mask is not None
        self.shares_features = mask is not None and mask.feature_extractor is box.feature_extractor

    def losses(self, features: Sequence[Tensor], proposals: Proposals, targets: Targets) -> dict[str, Tensor]:
        """The losses of every head; always all keys, zero where an image holds nothing to learn from."""
        sampled, losses, box_features = self.box.losses(features, proposals, targets)
        if self.has_mask:
            max_positives = self.box.sampler.max_positives(sampled.labels.shape[1])
            shared = box_features if self.shares_features else None
            losses |= self.mask.losses(features, sampled, targets, max_positives, shared)
        return losses

    def detect(self, features: Sequence[Tensor], proposals: Proposals, image_hw: Tensor) -> Detections:
        """Final detections; with a mask head they carry mask logits. `image_hw` [N, 2]."""
        detections = self.box.detect(features, proposals, image_hw)
        return self.mask.add_masks(features, detections) if self.has_mask else detections


def build_roi_heads(cfg: ConfigNode, in_channels: int) -> CombinedROIHeads:
    """The heads of MODEL.ROI_HEADS over features of `in_channels`."""
    box = build_roi_box_head(cfg, in_channels)
    if not cfg.MODEL.MASK_ON:
        return CombinedROIHeads(box)
    return CombinedROIHeads(box, build_roi_mask_head(cfg, in_channels, box.feature_extractor))
