"""Losses of the RPN (Faster R-CNN, section 3.1.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.box_regression import BoxRegressionLoss
from maskrcnn_benchmark.modeling.losses import LossSum
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.sampler import IGNORED, BalancedSampler, sample_labels
from maskrcnn_benchmark.structures.box_geometry import gather_rows
from maskrcnn_benchmark.structures.targets import Targets


def assign_anchors(
    anchors: Tensor, visible: Tensor, targets: Targets, matcher: Matcher
) -> tuple[Tensor, Tensor]:
    """Labels and matched ground truth, both [N, A], of `anchors` [A, 4].

    Labels are 1 for an object, 0 for background and -1 for an anchor that is ignored.
    """
    matches = matcher.match(anchors, targets)
    labels = (matches >= 0).long().masked_fill(matches == Matcher.BETWEEN_THRESHOLDS, IGNORED)
    return labels.masked_fill(~visible, IGNORED), matches.clamp(min=0)


def rpn_losses(
    anchors: Tensor,
    logits: Tensor,
    deltas: Tensor,
    labels: Tensor,
    matched_gt: Tensor,
    targets: Targets,
    sampler: BalancedSampler,
    box_loss: BoxRegressionLoss,
) -> tuple[LossSum, LossSum]:
    """Objectness loss and box loss, both counted over the sampled anchors.

    `anchors` [A, 4], `logits` [N, A], `deltas` [N, A, 4], `labels` and `matched_gt` [N, A] as from
    assign_anchors. The box loss is over positive anchors.
    """
    index, used = sampler(labels)  # [N, R]
    labels = sample_labels(labels, index, used)
    num_sampled = used.sum()
    objectness = F.binary_cross_entropy_with_logits(
        gather_rows(logits, index).float(), labels.clamp(min=0).float(), weight=used.float(), reduction="sum"
    )
    is_positive = labels == 1
    gt_boxes = gather_rows(targets.boxes, gather_rows(matched_gt, index))
    sampled_anchors = anchors[index]
    # An unused slot stands for an arbitrary pair of boxes: encode the anchor against itself, which is zero.
    gt_boxes = torch.where(is_positive.unsqueeze(-1), gt_boxes, sampled_anchors)
    box_targets = box_loss.box_coder.encode(gt_boxes, sampled_anchors)
    box = box_loss(gather_rows(deltas, index), box_targets, sampled_anchors, is_positive)
    return LossSum(objectness, num_sampled), LossSum(box, num_sampled)
