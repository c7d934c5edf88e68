"""Heads as a user's own file may hold them; importing it registers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.losses import LossSum, LossSums
from maskrcnn_benchmark.modeling.registry import ROI_HEADS
from maskrcnn_benchmark.modeling.roi_heads.head import ROIHead
from maskrcnn_benchmark.modeling.roi_heads.regions import Regions
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.box_geometry import gather_rows
from maskrcnn_benchmark.structures.detections import Detections, SampledRois
from maskrcnn_benchmark.structures.targets import Targets


class AgeHead(ROIHead):
    """Guesses a number for each object from the box head's features; learns on positives alone."""

    detector_kind = "Age R-CNN"
    iou_type = "age"
    target_fields = ("age",)

    def __init__(self, feature_extractor: nn.Module) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.fc = nn.Linear(feature_extractor.out_channels, 1)  # type: ignore[arg-type]

    def forward(self, regions: Regions) -> Tensor:
        x = regions.extract(self.feature_extractor)  # vectors, or maps from a C4 body
        return self.fc(x.flatten(2).mean(2) if x.dim() == 4 else x).squeeze(1)

    def losses(
        self, regions: Regions, sampled: SampledRois, targets: Targets
    ) -> tuple[LossSums, SampledRois]:
        positives = sampled.positives()
        is_positive = positives.labels > 0
        ages = targets.fields.get("age", torch.zeros_like(targets.boxes[..., 0]))
        wanted = gather_rows(ages, positives.matched_gt)
        regions = regions.leading(is_positive)
        used = regions.take(is_positive)
        loss = F.smooth_l1_loss(self(regions).float(), regions.take(wanted), reduction="none")
        return {"loss_age": LossSum((loss * used).sum(), used.sum())}, sampled

    def refine(self, regions: Regions, detections: Detections, image_hw: Tensor) -> Detections:
        return detections.with_field("age", regions.fill(self(regions)))

    def boxlist_fields(self, boxlist: BoxList, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"age_in_months": 12 * fields["age"]}


class ShrinkHead(ROIHead):
    """Replaces boxes, as a stage of a cascade does: every region loses its right half."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))

    def losses(
        self, regions: Regions, sampled: SampledRois, targets: Targets
    ) -> tuple[LossSums, SampledRois]:
        total = (self.factor * regions.take(sampled.boxes)[:, 2]).sum()
        boxes = self._shrink(sampled.boxes)
        return {"loss_shrink": LossSum(total, (sampled.labels >= 0).sum())}, sampled._replace(boxes=boxes)

    def refine(self, regions: Regions, detections: Detections, image_hw: Tensor) -> Detections:
        return detections._replace(boxes=self._shrink(detections.boxes))

    def _shrink(self, boxes: Tensor) -> Tensor:
        x1, y1, x2, y2 = boxes.unbind(-1)
        return torch.stack([x1, y1, x1 + self.factor.detach() * (x2 - x1), y2], dim=-1)


class TwiceHead(ROIHead):
    """Gives a loss under the box head's name."""

    def losses(
        self, regions: Regions, sampled: SampledRois, targets: Targets
    ) -> tuple[LossSums, SampledRois]:
        zero = sampled.boxes.sum()
        return {"loss_classifier": LossSum(zero, zero)}, sampled


@ROI_HEADS.register("age")
def build_age_head(cfg: ConfigNode, in_channels: int, heads: Mapping[str, ROIHead]) -> AgeHead:
    return AgeHead(heads["box"].feature_extractor)  # type: ignore[arg-type]


@ROI_HEADS.register("shrink")
def build_shrink_head(cfg: ConfigNode, in_channels: int, heads: Mapping[str, ROIHead]) -> ShrinkHead:
    return ShrinkHead()


@ROI_HEADS.register("twice")
def build_twice_head(cfg: ConfigNode, in_channels: int, heads: Mapping[str, ROIHead]) -> TwiceHead:
    return TwiceHead()


@ROI_HEADS.register("absent")
def build_absent_head(cfg: ConfigNode, in_channels: int, heads: Mapping[str, ROIHead]) -> None:
    return None
