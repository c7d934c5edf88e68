"""From the RPN's outputs to proposals: the best anchors, decoded, NMS, the best of all levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import batched_nms
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.structures.box_geometry import clip_boxes, gather_rows
from maskrcnn_benchmark.structures.detections import Proposals
from maskrcnn_benchmark.structures.targets import Targets


class ProposalSelector:
    """Selects proposals of a batch, all images and levels at once.

    Of each level the `pre_nms_top_n` best anchors are decoded, clipped and go through NMS among themselves at
    `nms_thresh`; at most `post_nms_top_n` of each level and the `fpn_post_nms_top_n` best over all levels
    remain: of each image, or, where `per_batch`, of the whole batch.
    """

    def __init__(
        self,
        pre_nms_top_n: int,
        post_nms_top_n: int,
        fpn_post_nms_top_n: int,
        nms_thresh: float,
        min_size: float,
        box_coder: BoxCoder,
        per_batch: bool = False,
    ) -> None:
        self.pre_nms_top_n = pre_nms_top_n
        self.post_nms_top_n = post_nms_top_n
        self.fpn_post_nms_top_n = fpn_post_nms_top_n
        self.nms_thresh = nms_thresh
        self.min_size = min_size
        self.box_coder = box_coder
        self.per_batch = per_batch

    def __call__(
        self, anchors: Sequence[Tensor], logits: Sequence[Tensor], deltas: Sequence[Tensor], image_hw: Tensor
    ) -> Proposals:
        """Proposals from anchors [Al, 4], logits [N, Al] and deltas [N, Al, 4] of L levels.

        `image_hw` [N, 2] are the images' heights and widths, to which boxes are clipped.
        """
        levels = [self._best_of_level(*level) for level in zip(anchors, logits, deltas, strict=True)]
        boxes = clip_boxes(torch.cat([boxes for boxes, _ in levels], dim=1), image_hw)  # [N, K, 4]
        scores = torch.cat([scores for _, scores in levels], dim=1)  # [N, K]
        group = torch.cat(
            [torch.full_like(s, i, dtype=torch.int64) for i, (_, s) in enumerate(levels)], dim=1
        )
        is_large = (boxes[..., 2:] - boxes[..., :2] + 1 >= self.min_size).all(dim=-1)
        caps_levels = max(s.shape[1] for _, s in levels) > self.post_nms_top_n
        slots = scores.shape[1] if caps_levels else min(self.fpn_post_nms_top_n, scores.shape[1])
        index, valid = batched_nms(boxes, scores, group, is_large, self.nms_thresh, slots)
        if caps_levels:
            valid = valid & within_first(group.gather(1, index), valid, len(levels), self.post_nms_top_n)
        scores = scores.gather(1, index).masked_fill(~valid, 0.0)
        return self._best_over_levels(Proposals(gather_rows(boxes, index), scores, valid))

    def _best_of_level(self, anchors: Tensor, logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
        """Decoded boxes [N, k, 4] and scores [N, k] of the best anchors of a level, by descending score."""
        scores = logits.float().sigmoid()
        scores, index = scores.topk(min(self.pre_nms_top_n, scores.shape[1]), dim=1)
        return self.box_coder.decode(gather_rows(deltas, index).float(), anchors[index]), scores

    def _best_over_levels(self, proposals: Proposals) -> Proposals:
        """The best `fpn_post_nms_top_n`, of each image or of the batch, by descending score.

        Slots in use come first.
        """
        boxes, scores, valid = proposals
        num_images, slots = scores.shape
        key = torch.where(valid, scores, -1.0)
        if self.per_batch and num_images > 1:
            best = key.flatten().topk(min(self.fpn_post_nms_top_n, key.numel())).indices
            is_best = torch.zeros_like(valid).flatten().scatter_(0, best, True).view_as(valid)
            key = torch.where(is_best, key, -1.0)
        elif slots <= self.fpn_post_nms_top_n:
            return proposals
        key, index = key.topk(min(self.fpn_post_nms_top_n, slots), dim=1)
        return Proposals(gather_rows(boxes, index), key.clamp(min=0), key >= 0)


def within_first(group: Tensor, valid: Tensor, num_groups: int, limit: int) -> Tensor:
    """Which entries [N, K] are among the first `limit` valid ones of their group."""
    one_hot = (group.unsqueeze(-1) == torch.arange(num_groups, device=group.device)) & valid.unsqueeze(-1)
    rank = one_hot.cumsum(dim=1).gather(2, group.unsqueeze(-1)).squeeze(-1)
    return rank <= limit


def add_ground_truth(proposals: Proposals, targets: Targets) -> Proposals:
    """Proposals with the ground-truth boxes appended, so that the heads see every object from the start."""
    scores = targets.valid.to(proposals.scores.dtype)
    return Proposals(
        torch.cat([proposals.boxes, targets.boxes], dim=1),
        torch.cat([proposals.scores, scores], dim=1),
        torch.cat([proposals.valid, targets.valid], dim=1),
    )
