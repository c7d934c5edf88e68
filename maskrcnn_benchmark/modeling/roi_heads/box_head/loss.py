"""Sampling and losses of the box head (Fast R-CNN, section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.box_regression import BoxRegressionLoss
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.sampler import BalancedSampler, sample_labels
from maskrcnn_benchmark.structures.box_geometry import gather_rows
from maskrcnn_benchmark.structures.detections import Proposals, SampledRois
from maskrcnn_benchmark.structures.targets import Targets
from maskrcnn_benchmark.utils import comm

IGNORED = -1


def sample_rois(
    proposals: Proposals, targets: Targets, matcher: Matcher, sampler: BalancedSampler, box_coder: BoxCoder
) -> SampledRois:
    """Draws regions for the losses, with their labels and regression targets."""
    matches = matcher.match(proposals.boxes, targets)  # [N, P]
    matched_gt = matches.clamp(min=0)
    labels = gather_rows(targets.labels, matched_gt)
    labels = labels.masked_fill(matches == Matcher.BELOW_LOW_THRESHOLD, 0)
    labels = labels.masked_fill((matches == Matcher.BETWEEN_THRESHOLDS) | ~proposals.valid, IGNORED)
    index, used = sampler(labels)
    labels = sample_labels(labels, index, used)
    matched_gt = gather_rows(matched_gt, index)
    boxes = gather_rows(proposals.boxes, index)
    is_positive = (labels > 0).unsqueeze(-1)
    gt_boxes = torch.where(is_positive, gather_rows(targets.boxes, matched_gt), boxes)
    return SampledRois(boxes, labels, box_coder.encode(gt_boxes, boxes), matched_gt)


def box_losses(
    class_logits: Tensor,
    box_regression: Tensor,
    labels: Tensor,
    box_targets: Tensor,
    boxes: Tensor,
    box_loss: BoxRegressionLoss,
    class_agnostic: bool = False,
) -> tuple[Tensor, Tensor]:
    """Classification loss and box loss, each divided by the number of sampled regions.

    In a distributed run that is its mean over the processes.

    `class_logits` [K, C], `box_regression` [K, 4 * C] (or [K, 8]), `labels` [K] with -1 for unused slots,
    `box_targets` [K, 4] and the regions they are relative to, `boxes` [K, 4]. The box loss is over the
    positives, each with the deltas of its own class.
    """
    num_sampled = comm.mean_count((labels >= 0).sum())
    classifier = F.cross_entropy(class_logits.float(), labels, ignore_index=IGNORED, reduction="sum")
    column = (labels > 0).long() if class_agnostic else labels.clamp(min=0)
    deltas = box_regression.unflatten(-1, (-1, 4))  # [K, C or 2, 4]
    deltas = deltas.gather(1, column.view(-1, 1, 1).expand(-1, 1, 4)).squeeze(1)
    box = box_loss(deltas, box_targets, boxes, labels > 0)
    return classifier / num_sampled, box / num_sampled
