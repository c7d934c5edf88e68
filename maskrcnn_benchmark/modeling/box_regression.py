"""The box-regression loss of a head: on the deltas, or on the boxes they decode to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import box_losses
from maskrcnn_benchmark.layers.losses import smooth_l1
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.registry import BOX_REG_LOSSES

ON_DELTAS = ("smooth_l1", "l1")

BOX_REG_LOSSES.register("iou")(box_losses.iou_loss)
BOX_REG_LOSSES.register("giou")(box_losses.giou_loss)
BOX_REG_LOSSES.register("bounded_iou")(box_losses.bounded_iou_loss)
BOX_REG_LOSSES.register("diou")(box_losses.diou_loss)
BOX_REG_LOSSES.register("ciou")(box_losses.ciou_loss)


@dataclass(frozen=True)
class BoxRegressionLoss:
    """Sums a box-regression loss over the positives, in float32.

    Attributes:
        kind: smooth_l1 or l1, on the deltas; or a name in BOX_REG_LOSSES, on decoded boxes.
        box_coder: of the head; decodes.
        beta: where smooth L1 turns from quadratic to linear.
        weight: factor of the loss.
    """

    kind: str
    box_coder: BoxCoder
    beta: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in (*ON_DELTAS, *BOX_REG_LOSSES):
            raise ValueError(
                f"box-regression loss {self.kind!r} is not one of {', '.join([*ON_DELTAS, *BOX_REG_LOSSES])} "
                "(MODEL.BOX_REG_LOSS, MODEL.RPN.BOX_REG_LOSS)"
            )

    def __call__(self, deltas: Tensor, box_targets: Tensor, boxes: Tensor, is_positive: Tensor) -> Tensor:
        """The 0-dim sum over the positives.

        `deltas` [..., 4] predicted and `box_targets` [..., 4] wanted, both relative to `boxes` [..., 4];
        `is_positive` [...]. What stands where it is False has no influence, gradients included.
        """
        mask = is_positive.unsqueeze(-1)
        # before the loss, not after it: targets of a proposal that has lost its width are not numbers
        deltas, box_targets = (torch.where(mask, values, 0.0) for values in (deltas.float(), box_targets))
        if self.kind in ON_DELTAS:
            is_l1 = self.kind == "l1"
            loss = (deltas - box_targets).abs() if is_l1 else smooth_l1(deltas, box_targets, self.beta)
        else:
            boxes = torch.where(mask, boxes, 0.0)  # one pixel, to which zero deltas decode
            predicted, wanted = (self.box_coder.decode(d, boxes) for d in (deltas, box_targets))
            loss = BOX_REG_LOSSES[self.kind](predicted, wanted) * is_positive
        total = loss.sum()
        return total if self.weight == 1 else total * self.weight
