"""Losses on boxes against torchvision's (whose boxes end one pixel later) and against slow definitions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from maskrcnn_benchmark.layers.box_losses import (
    aspect_difference,
    bounded_iou_loss,
    ciou_loss,
    diou_loss,
    giou_loss,
    iou_loss,
)
from maskrcnn_benchmark.structures.boxlist_ops import box_iou

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES = (iou_loss, giou_loss, diou_loss, ciou_loss, bounded_iou_loss)
TORCHVISION = (
    (giou_loss, generalized_box_iou_loss),
    (diou_loss, distance_box_iou_loss),
    (ciou_loss, complete_box_iou_loss),
)


def make_boxes(count: int, seed: int) -> Tensor:
    """Random boxes [count, 4] float64, one pixel and more a side."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 60
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40
    return torch.cat([corner, corner + size], dim=1)


def pairs() -> tuple[Tensor, Tensor]:
    """Boxes that overlap little, much, wholly, touch, lie in each other, and lie apart."""
    targets = make_boxes(40, 0)
    nearby = targets + torch.randn(40, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    nearby[:, 2:] = torch.maximum(nearby[:, 2:], nearby[:, :2])
    some = torch.tensor(
        [[10, 10, 19, 19], [20, 10, 29, 19], [12, 12, 15, 17], [0, 0, 99, 49], [200, 300, 240, 310]],
        dtype=torch.float64,
    )
    fixed = torch.tensor([[10.0, 10, 19, 19]], dtype=torch.float64).expand(5, 4)
    return torch.cat([make_boxes(40, 1), nearby, some]), torch.cat([targets, targets, fixed])


def one_longer(boxes: Tensor) -> Tensor:
    """The boxes as a library writes them that does not count pixels."""
    return boxes + torch.tensor([0, 0, 1, 1], dtype=boxes.dtype)


@pytest.mark.parametrize(("ours", "theirs"), TORCHVISION)
def test_values_and_gradients_are_torchvisions(ours: Loss, theirs: Loss) -> None:
    predictions, targets = pairs()
    first, second = predictions.clone().requires_grad_(), predictions.clone().requires_grad_()
    found, expected = ours(first, targets), theirs(one_longer(second), one_longer(targets))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    found.sum().backward()
    expected.sum().backward()
    # where two boxes share an edge the minimum has no derivative, and both choose as they like
    smooth = slice(0, 80)
    assert first.grad is not None
    assert second.grad is not None
    torch.testing.assert_close(first.grad[smooth], second.grad[smooth], rtol=1e-5, atol=1e-7)


def test_iou_loss_is_minus_the_logarithm_of_the_iou() -> None:
    predictions, targets = pairs()
    iou = box_iou(predictions[:, None], targets[:, None]).reshape(-1)
    expected = [-math.log(max(value, 1e-6)) for value in iou.tolist()]
    assert iou_loss(predictions, targets).tolist() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def slow_bounded_iou(prediction: list[float], target: list[float]) -> float:
    """mmdetection's formula, one box and one number at a time; its box ends one pixel later."""
    total = 0.0
    for low, high in ((0, 2), (1, 3)):
        side, target_side = (box[high] + 1 - box[low] for box in (prediction, target))
        distance = abs(
            np.mean([target[low], target[high] + 1]) - np.mean([prediction[low], prediction[high] + 1])
        )
        shifted = max((target_side - 2 * distance) / (target_side + 2 * distance + 1e-3), 0.0)
        scaled = min(target_side / (side + 1e-3), side / (target_side + 1e-3))
        for loss in (1 - shifted, 1 - scaled):
            total += 0.5 * loss**2 / 0.2 if loss < 0.2 else loss - 0.1
    return total


def test_bounded_iou_loss_is_mmdetections() -> None:
    predictions, targets = pairs()
    expected = [slow_bounded_iou(p, t) for p, t in zip(predictions.tolist(), targets.tolist(), strict=True)]
    assert bounded_iou_loss(predictions, targets).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("loss", [iou_loss, giou_loss, diou_loss, bounded_iou_loss, aspect_difference])
def test_gradcheck(loss: Loss) -> None:
    predictions, targets = (boxes[:80] for boxes in pairs())
    predictions.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, targets), (predictions,))


def test_gradient_of_the_ciou_loss_holds_its_factor_fixed() -> None:
    """With the factor as a constant, gradcheck holds for the sum, and the gradient is the loss's own."""
    predictions, targets = (boxes[:80] for boxes in pairs())
    difference = aspect_difference(predictions, targets)
    iou = box_iou(predictions[:, None], targets[:, None]).reshape(-1)
    factor = difference / (1 - iou + difference + 1e-7)

    def with_fixed_factor(boxes: Tensor) -> Tensor:
        return diou_loss(boxes, targets) + factor * aspect_difference(boxes, targets)

    predictions.requires_grad_()
    assert torch.autograd.gradcheck(with_fixed_factor, (predictions,))
    (expected,) = torch.autograd.grad(with_fixed_factor(predictions).sum(), predictions)
    (found,) = torch.autograd.grad(ciou_loss(predictions, targets).sum(), predictions)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_boxes_cost_nothing_and_anything_is_finite(loss: Loss) -> None:
    """A far box, a collapsed one (sides of zero pixels), a huge one; any leading shape; float32."""
    targets = make_boxes(6, 3).float().reshape(2, 3, 4)
    assert loss(targets, targets).abs().max() < 1e-4
    odd = torch.tensor([[1e4, 1e4, 2e4, 2e4], [5, 5, 4, 4], [-1e5, -1e5, 1e5, 1e5]]).requires_grad_()
    values = loss(odd, targets[0])
    assert values.shape == (3,)
    assert values.dtype == torch.float32
    values.sum().backward()
    assert odd.grad is not None
    assert torch.isfinite(values).all()
    assert torch.isfinite(odd.grad).all()


@pytest.mark.parametrize("loss", [giou_loss, diou_loss, ciou_loss])
def test_boxes_apart_are_pulled_together(loss: Loss) -> None:
    prediction = torch.tensor([[0.0, 0.0, 9.0, 9.0]], requires_grad=True)
    loss(prediction, torch.tensor([[30.0, 0.0, 39.0, 9.0]])).sum().backward()
    assert prediction.grad is not None
    assert (prediction.grad[0, [0, 2]].sum() < 0).item()  # to the right costs less
