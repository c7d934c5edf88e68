"""The box loss of a head: on deltas or on decoded boxes, over the positives alone; in both heads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.box_regression import ON_DELTAS, BoxRegressionLoss
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.registry import BOX_REG_LOSSES
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import box_iou

KINDS = (*ON_DELTAS, *BOX_REG_LOSSES)
CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
SMALL = (
    *("MODEL.BACKBONE.CONV_BODY", "V-27-slim-FPN", "MODEL.VOVNET.OUT_CHANNELS", 128, "MODEL.DEVICE", "cpu"),
    *("MODEL.VOVNET.BACKBONE_OUT_CHANNELS", 32, "MODEL.RPN.USE_FPN", True, "MODEL.ROI_HEADS.USE_FPN", True),
    *("MODEL.RPN.ANCHOR_STRIDE", (4, 8, 16, 32, 64), "MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM", 32),
    *("MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR", "FPN2MLPFeatureExtractor", "MODEL.VOVNET.USE_GN", True),
    *("MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNPredictor", "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7),
    *("MODEL.ROI_BOX_HEAD.POOLER_SCALES", (0.25, 0.125, 0.0625, 0.03125)),
    *("MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", 2, "MODEL.RPN.POST_NMS_TOP_N_TRAIN", 50),
    *("MODEL.GROUP_NORM.NUM_GROUPS", -1, "MODEL.GROUP_NORM.DIM_PER_GP", 16),
    *("MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN", 50, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 3),
)


def case() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Deltas, wanted deltas, reference boxes, which are positive, and the boxes that are wanted."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 6, 2, generator=generator) * 50
    boxes = torch.cat([corner, corner + 5 + torch.rand(2, 6, 2, generator=generator) * 40], dim=-1)
    wanted = boxes + torch.randn(2, 6, 4, generator=generator) * 2
    is_positive = torch.rand(2, 6, generator=generator) < 0.5
    deltas = torch.randn(2, 6, 4, generator=generator) * 0.3
    return deltas, CODER.encode(wanted, boxes), boxes, is_positive, wanted


@pytest.mark.parametrize("key", ["MODEL.BOX_REG_LOSS", "MODEL.RPN.BOX_REG_LOSS"])
def test_an_unknown_kind_is_refused_when_the_detector_is_built(key: str) -> None:
    with pytest.raises(ValueError, match=r"'l2' is not one of smooth_l1, l1, iou.*RPN\.BOX_REG_LOSS"):
        build_detection_model(load_config(None, [key, "l2"]))


def test_losses_on_deltas_are_torchs() -> None:
    deltas, targets, boxes, is_positive, _ = case()
    chosen = deltas[is_positive], targets[is_positive]
    for kind, expected in (
        ("smooth_l1", F.smooth_l1_loss(*chosen, beta=0.5, reduction="sum")),
        ("l1", F.l1_loss(*chosen, reduction="sum")),
    ):
        loss = BoxRegressionLoss(kind, CODER, beta=0.5)(deltas, targets, boxes, is_positive)
        torch.testing.assert_close(loss, expected)


def test_losses_on_boxes_see_decoded_ones() -> None:
    """GIoU for all of them: torchvision's, on boxes written one pixel longer."""
    deltas, targets, boxes, is_positive, wanted = case()
    longer = torch.tensor([0.0, 0, 1, 1])
    predicted = CODER.decode(deltas, boxes)[is_positive] + longer
    expected = generalized_box_iou_loss(predicted, wanted[is_positive] + longer, reduction="sum")
    loss = BoxRegressionLoss("giou", CODER, weight=10.0)(deltas, targets, boxes, is_positive)
    torch.testing.assert_close(loss, 10 * expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_positive_has_no_influence(kind: str) -> None:
    deltas, targets, boxes, is_positive, _ = case()
    loss = BoxRegressionLoss(kind, CODER)
    expected = loss(deltas, targets, boxes, is_positive)
    deltas = torch.where(is_positive.unsqueeze(-1), deltas, 1e30).requires_grad_()
    found = loss(deltas, targets, boxes, is_positive)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert deltas.grad is not None
    assert deltas.grad[~is_positive].count_nonzero() == 0
    assert torch.isfinite(deltas.grad).all()
    none = loss(deltas, targets, boxes, torch.zeros_like(is_positive))
    assert none.item() == 0
    assert none.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_a_proposal_without_width_has_no_influence(kind: str) -> None:
    """An untrained RPN shrinks boxes until x2 = x1 - 1: no pixel, and targets of 0 / 0."""
    deltas, targets, boxes, is_positive, _ = case()
    loss = BoxRegressionLoss(kind, CODER)
    expected = loss(deltas, targets, boxes, is_positive)
    row = tuple((~is_positive).nonzero()[0])
    boxes[row] = torch.tensor([40.0, 10.0, 39.0, 20.0])
    targets[row] = CODER.encode(boxes[row], boxes[row])
    assert targets[row].isnan().any()
    deltas.requires_grad_()
    found = loss(deltas, targets, boxes, is_positive)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert deltas.grad is not None and torch.isfinite(deltas.grad).all()


@pytest.mark.parametrize("kind", KINDS)
def test_low_precision_deltas_are_computed_in_float32(kind: str) -> None:
    deltas, targets, boxes, is_positive, _ = case()
    loss = BoxRegressionLoss(kind, CODER)
    low = loss(deltas.bfloat16(), targets, boxes, is_positive)
    assert low.dtype == torch.float32
    assert torch.equal(low, loss(deltas.bfloat16().float(), targets, boxes, is_positive))


@pytest.mark.parametrize("kind", KINDS)
def test_descending_it_brings_the_boxes_to_their_targets(kind: str) -> None:
    _, targets, boxes, is_positive, wanted = case()
    deltas = torch.zeros_like(targets).requires_grad_()
    optimizer = torch.optim.Adam([deltas], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.975)
    for _ in range(200):
        optimizer.zero_grad()
        BoxRegressionLoss(kind, CODER)(deltas, targets, boxes, is_positive).backward()
        optimizer.step()
        scheduler.step()
    found = CODER.decode(deltas.detach(), boxes)[is_positive]
    assert box_iou(found[:, None], wanted[is_positive][:, None]).min() > 0.97
    assert deltas[~is_positive].count_nonzero() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_detector_trains_with_it(kind: str) -> None:
    """Both heads: the key decides, the weight is a factor, and gradients reach the box layers."""
    losses = {}
    for weight in (1.0, 3.0):
        keys = ("MODEL.BOX_REG_LOSS", kind, "MODEL.BOX_REG_LOSS_WEIGHT", weight)
        keys += ("MODEL.RPN.BOX_REG_LOSS", kind, "MODEL.RPN.BOX_REG_LOSS_WEIGHT", weight)
        torch.manual_seed(0)
        model = build_detection_model(load_config(None, [*SMALL, *keys])).train()
        target = BoxList([[4.0, 6.0, 40.0, 50.0], [20.0, 10.0, 60.0, 30.0]], (64, 64))
        target.add_field("labels", torch.tensor([1, 2]))
        losses[weight] = model(torch.full((1, 3, 64, 64), 90, dtype=torch.uint8), [target])
    for name in ("loss_box_reg", "loss_rpn_box_reg"):
        assert losses[1.0][name] > 0
        torch.testing.assert_close(losses[3.0][name], 3 * losses[1.0][name])
    torch.stack(list(losses[3.0].values())).sum().backward()
    for layer in (model.rpn.head.bbox_pred, model.roi_heads.box.predictor.bbox_pred):
        assert torch.isfinite(layer.weight.grad).all()
        assert layer.weight.grad.count_nonzero() > 0
