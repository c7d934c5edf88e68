"""Regression targets and losses of the box head (Fast R-CNN, section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.box_regression import BoxRegressionLoss
from maskrcnn_benchmark.modeling.losses import LossSum
from maskrcnn_benchmark.modeling.sampler import IGNORED
from maskrcnn_benchmark.structures.box_geometry import gather_rows
from maskrcnn_benchmark.structures.detections import SampledRois
from maskrcnn_benchmark.structures.targets import Targets


def encode_targets(sampled: SampledRois, targets: Targets, box_coder: BoxCoder) -> Tensor:
    """Deltas [N, R, 4] from each region to its ground truth; zero where it is no positive."""
    is_positive = (sampled.labels > 0).unsqueeze(-1)
    gt_boxes = torch.where(is_positive, gather_rows(targets.boxes, sampled.matched_gt), sampled.boxes)
    return box_coder.encode(gt_boxes, sampled.boxes)


def box_losses(
    class_logits: Tensor,
    box_regression: Tensor,
    labels: Tensor,
    box_targets: Tensor,
    boxes: Tensor,
    box_loss: BoxRegressionLoss,
    class_agnostic: bool = False,
) -> tuple[LossSum, LossSum]:
    """Classification loss and box loss, both counted over the sampled regions.

    `class_logits` [K, C], `box_regression` [K, 4 * C] (or [K, 8]), `labels` [K] with -1 for unused slots,
    `box_targets` [K, 4] and the regions they are relative to, `boxes` [K, 4]. The box loss is over the
    positives, each with the deltas of its own class.
    """
    num_sampled = (labels >= 0).sum()
    classifier = F.cross_entropy(class_logits.float(), labels, ignore_index=IGNORED, reduction="sum")
    column = (labels > 0).long() if class_agnostic else labels.clamp(min=0)
    deltas = box_regression.unflatten(-1, (-1, 4))  # [K, C or 2, 4]
    deltas = deltas.gather(1, column.view(-1, 1, 1).expand(-1, 1, 4)).squeeze(1)
    box = box_loss(deltas, box_targets, boxes, labels > 0)
    return LossSum(classifier, num_sampled), LossSum(box, num_sampled)
