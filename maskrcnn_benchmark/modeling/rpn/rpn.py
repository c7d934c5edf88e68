"""The region proposal network (Ren et al., Faster R-CNN, section 3.1; Lin et al., FPN, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.box_regression import BoxRegressionLoss
from maskrcnn_benchmark.modeling.losses import LossSums
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.registry import RPN_HEADS
from maskrcnn_benchmark.modeling.rpn.anchor_generator import AnchorGenerator, build_anchor_generator
from maskrcnn_benchmark.modeling.rpn.loss import assign_anchors, rpn_losses
from maskrcnn_benchmark.modeling.rpn.proposals import ProposalSelector, add_ground_truth
from maskrcnn_benchmark.modeling.sampler import BalancedSampler
from maskrcnn_benchmark.structures.detections import Proposals
from maskrcnn_benchmark.structures.targets import Targets


class RPN(nn.Module):
    """Scores and shifts anchors, selects the best as proposals, and computes its two losses in training."""

    def __init__(
        self,
        head: nn.Module,
        anchor_generator: AnchorGenerator,
        select_train: ProposalSelector,
        select_test: ProposalSelector,
        matcher: Matcher,
        sampler: BalancedSampler,
        box_loss: BoxRegressionLoss,
    ) -> None:
        super().__init__()
        self.anchor_generator = anchor_generator
        self.head = head
        self.select_train = select_train
        self.select_test = select_test
        self.matcher = matcher
        self.sampler = sampler
        self.box_loss = box_loss

    def forward(
        self, features: Sequence[Tensor], image_hw: Tensor, targets: Targets | None = None
    ) -> tuple[Proposals, LossSums]:
        """Proposals of a batch and, in training, loss_objectness and loss_rpn_box_reg.

        In training the ground-truth boxes are appended to the proposals.
        `features`: L maps [N, C, Hl, Wl]; `image_hw` [N, 2] int64.
        """
        logits, deltas = flatten_levels(*self.head(features))
        anchors = self.anchor_generator([(f.shape[-2], f.shape[-1]) for f in features])
        select = self.select_train if self.training else self.select_test
        with torch.no_grad():
            proposals = select(anchors, logits, deltas, image_hw)
        if not self.training:
            return proposals, {}
        assert targets is not None, "training needs targets"
        losses = self._losses(torch.cat(anchors), logits, deltas, image_hw, targets)
        return add_ground_truth(proposals, targets), losses

    def _losses(
        self, anchors: Tensor, logits: list[Tensor], deltas: list[Tensor], image_hw: Tensor, targets: Targets
    ) -> LossSums:
        with torch.no_grad():
            visible = self.anchor_generator.visibility(anchors, image_hw)
            labels, matched_gt = assign_anchors(anchors, visible, targets, self.matcher)
        objectness, box = rpn_losses(
            anchors,
            torch.cat(logits, dim=1),
            torch.cat(deltas, dim=1),
            labels,
            matched_gt,
            targets,
            self.sampler,
            self.box_loss,
        )
        return {"loss_objectness": objectness, "loss_rpn_box_reg": box}


def flatten_levels(logits: Sequence[Tensor], deltas: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """A head's maps [N, A, Hl, Wl] and [N, 4 * A, Hl, Wl] in the order of the anchors.

    That is position by position, the anchors of a position together: [N, Hl * Wl * A] and
    [N, Hl * Wl * A, 4].
    """
    flat_logits = [level.permute(0, 2, 3, 1).flatten(1) for level in logits]
    flat_deltas = [level.permute(0, 2, 3, 1).unflatten(-1, (-1, 4)).flatten(1, 3) for level in deltas]
    return flat_logits, flat_deltas


def build_rpn(cfg: ConfigNode, in_channels: int) -> RPN:
    """The RPN of MODEL.RPN over features of `in_channels`."""
    rpn = cfg.MODEL.RPN
    anchor_generator = build_anchor_generator(cfg)
    box_coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
    return RPN(
        head=RPN_HEADS[rpn.RPN_HEAD](cfg, in_channels, anchor_generator.num_anchors_per_location()[0]),
        anchor_generator=anchor_generator,
        select_train=build_proposal_selector(cfg, box_coder, is_train=True),
        select_test=build_proposal_selector(cfg, box_coder, is_train=False),
        matcher=Matcher(rpn.FG_IOU_THRESHOLD, rpn.BG_IOU_THRESHOLD, allow_low_quality_matches=True),
        sampler=BalancedSampler(rpn.BATCH_SIZE_PER_IMAGE, rpn.POSITIVE_FRACTION),
        box_loss=BoxRegressionLoss(rpn.BOX_REG_LOSS, box_coder, beta=1.0 / 9, weight=rpn.BOX_REG_LOSS_WEIGHT),
    )


def build_proposal_selector(cfg: ConfigNode, box_coder: BoxCoder, is_train: bool) -> ProposalSelector:
    """The selection of proposals in training or at test. A single map has no limit over levels."""
    rpn = cfg.MODEL.RPN
    post_nms_top_n = rpn.POST_NMS_TOP_N_TRAIN if is_train else rpn.POST_NMS_TOP_N_TEST
    over_levels = rpn.FPN_POST_NMS_TOP_N_TRAIN if is_train else rpn.FPN_POST_NMS_TOP_N_TEST
    return ProposalSelector(
        pre_nms_top_n=rpn.PRE_NMS_TOP_N_TRAIN if is_train else rpn.PRE_NMS_TOP_N_TEST,
        post_nms_top_n=post_nms_top_n,
        fpn_post_nms_top_n=over_levels if rpn.USE_FPN else post_nms_top_n,
        nms_thresh=rpn.NMS_THRESH,
        min_size=rpn.MIN_SIZE,
        box_coder=box_coder,
        per_batch=is_train and rpn.USE_FPN and rpn.FPN_POST_NMS_PER_BATCH,
    )
