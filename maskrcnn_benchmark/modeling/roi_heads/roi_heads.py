"""The heads that look at regions, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.losses import LossSums
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.registry import ROI_HEADS
from maskrcnn_benchmark.modeling.roi_heads import mask_head  # noqa: F401  # registers its head
from maskrcnn_benchmark.modeling.roi_heads.box_head import ROIBoxHead
from maskrcnn_benchmark.modeling.roi_heads.head import ROIHead
from maskrcnn_benchmark.modeling.roi_heads.regions import Regions
from maskrcnn_benchmark.modeling.sampler import IGNORED, BalancedSampler, sample_labels
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.box_geometry import gather_rows
from maskrcnn_benchmark.structures.detections import Detections, Proposals, SampledRois
from maskrcnn_benchmark.structures.targets import Targets

# The package's own, in their order; a builder that gives None leaves its head out.
HEADS = ("box", "mask")


class CombinedROIHeads(nn.ModuleDict):
    """An ordered mapping of heads: each learns on the regions, and refines the detections, of the one before.

    `heads["mask"]` and `heads.mask` are the same head, `"mask" in heads` tells whether there is one.
    """

    box: ROIBoxHead

    def __init__(self, heads: Mapping[str, ROIHead], matcher: Matcher, sampler: BalancedSampler) -> None:
        """`matcher`, `sampler`: choose the regions that the losses are over."""
        super().__init__(heads)
        self.matcher = matcher
        self.sampler = sampler

    def in_order(self) -> Iterator[tuple[str, ROIHead]]:
        """Name and head, the first to run first."""
        return iter(self.items())  # type: ignore[arg-type]  # __init__ takes no others

    @property
    def detector_kind(self) -> str | None:
        """What a detector with these heads is called: the last head that has a name for it decides."""
        kinds = [head.detector_kind for _, head in self.in_order() if head.detector_kind is not None]
        return kinds[-1] if kinds else None

    @property
    def iou_types(self) -> tuple[str, ...]:
        """The evaluations that score the detections, each once."""
        types = (head.iou_type for _, head in self.in_order())
        return tuple(dict.fromkeys(each for each in types if each is not None))

    @property
    def target_fields(self) -> tuple[str, ...]:
        """Fields of the ground truth that some head asks for, each once."""
        return tuple(dict.fromkeys(name for _, head in self.in_order() for name in head.target_fields))

    @torch.no_grad()
    def sample(self, proposals: Proposals, targets: Targets) -> SampledRois:
        """The regions that the losses are over; draws at random where there are too many."""
        return sample_rois(proposals, targets, self.matcher, self.sampler)

    def losses(self, features: Sequence[Tensor], proposals: Proposals, targets: Targets) -> LossSums:
        """The losses of every head; always all names, zero where an image holds nothing to learn from.

        Raises ValueError where two heads give a loss of the same name.
        """
        sampled = self.sample(proposals, targets)
        regions = Regions(features, sampled.boxes, sampled.labels >= 0)
        losses: LossSums = {}
        for name, head in self.in_order():
            own, following = head.losses(regions, sampled, targets)
            if twice := sorted(own.keys() & losses.keys()):
                raise ValueError(f"head {name!r} gives {', '.join(twice)}, as an earlier head does")
            losses |= own
            if following.boxes is not sampled.boxes:
                regions = Regions(features, following.boxes, following.labels >= 0)
            sampled = following
        return losses

    def detect(self, features: Sequence[Tensor], proposals: Proposals, image_hw: Tensor) -> Detections:
        """Final detections, with the fields that the heads add. `image_hw` [N, 2]: heights and widths."""
        boxes, scores, valid = proposals
        detections = Detections(boxes, scores, torch.zeros_like(valid, dtype=torch.int64), valid, {})
        for _, head in self.in_order():
            regions = Regions(features, detections.boxes, detections.valid)
            detections = head.refine(regions, detections, image_hw)
        return detections

    def boxlist_fields(self, boxlist: BoxList, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """The fields of every head, as `ROIHead.boxlist_fields` has them."""
        found: dict[str, Any] = {}
        for _, head in self.in_order():
            found |= head.boxlist_fields(boxlist, fields)
        return found


def sample_rois(
    proposals: Proposals, targets: Targets, matcher: Matcher, sampler: BalancedSampler
) -> SampledRois:
    """Draws regions for the losses, with their labels and matched ground truth (Fast R-CNN, section 2.3)."""
    matches = matcher.match(proposals.boxes, targets)  # [N, P]
    matched_gt = matches.clamp(min=0)
    labels = gather_rows(targets.labels, matched_gt)
    labels = labels.masked_fill(matches == Matcher.BELOW_LOW_THRESHOLD, 0)
    labels = labels.masked_fill((matches == Matcher.BETWEEN_THRESHOLDS) | ~proposals.valid, IGNORED)
    index, used = sampler(labels)  # [N, R]
    return SampledRois(
        boxes=gather_rows(proposals.boxes, index),
        labels=sample_labels(labels, index, used),
        matched_gt=gather_rows(matched_gt, index),
        num_positive_slots=sampler.max_positives(labels.shape[1]),
        fields={},
    )


def build_roi_heads(cfg: ConfigNode, in_channels: int) -> CombinedROIHeads:
    """The heads of a config over features of `in_channels`: the package's own, then MODEL.ROI_HEADS.EXTRA.

    Raises ValueError for a name in EXTRA that no head is registered under, with the nearest known, or that is
    there twice.
    """
    settings = cfg.MODEL.ROI_HEADS
    heads: dict[str, ROIHead] = {}
    names = (*HEADS, *settings.EXTRA)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"MODEL.ROI_HEADS.EXTRA = {tuple(settings.EXTRA)}: each head once, and without the package's own "
            f"{HEADS}, which other keys turn on; {', '.join(twice)} would be there twice"
        )
    for name in names:
        head = ROI_HEADS[name](cfg, in_channels, heads)
        if head is not None:
            heads[name] = head
    return CombinedROIHeads(
        heads,
        Matcher(settings.FG_IOU_THRESHOLD, settings.BG_IOU_THRESHOLD),
        BalancedSampler(settings.BATCH_SIZE_PER_IMAGE, settings.POSITIVE_FRACTION),
    )
