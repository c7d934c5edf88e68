"""The mask predictor's matrix products against the layers that they stand for."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from layers.rounding import summation_bound

from maskrcnn_benchmark.engine.precision import Precision, running_in
from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import mask_loss, predict_in_parts
from maskrcnn_benchmark.modeling.roi_heads.mask_head.predictor import MaskRCNNC4Predictor


def reference(predictor: MaskRCNNC4Predictor, x: torch.Tensor) -> torch.Tensor:
    """Transposed convolution, ReLU, 1x1 convolution."""
    return predictor.mask_fcn_logits(predictor.conv5_mask(x).relu())


def magnitudes_of(predictor: MaskRCNNC4Predictor) -> MaskRCNNC4Predictor:
    """The same predictor with every weight and bias replaced by its absolute value."""
    predictor = copy.deepcopy(predictor)
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.abs_()
    return predictor


def test_all_classes_and_own_class_equal_the_layers() -> None:
    torch.manual_seed(0)
    predictor = MaskRCNNC4Predictor(6, 5, num_classes=4)
    torch.nn.init.normal_(predictor.conv5_mask.bias)
    torch.nn.init.normal_(predictor.mask_fcn_logits.bias)
    labels = torch.tensor([3, 0, 1])
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(3, 6, 7, 9).contiguous(memory_format=memory_format)
        expected = reference(predictor, x)
        torch.testing.assert_close(predictor(x), expected)
        torch.testing.assert_close(predictor(x, labels), expected[torch.arange(3), labels])


@torch.no_grad()
def test_in_16_bit_integers_it_is_near_the_layers() -> None:
    torch.manual_seed(0)
    predictor = MaskRCNNC4Predictor(32, 16, num_classes=4).eval()
    torch.nn.init.normal_(predictor.conv5_mask.bias)
    x = torch.randn(3, 32, 7, 9).contiguous(memory_format=torch.channels_last)
    for factor in (1, -2):
        predictor.conv5_mask.weight.mul_(factor)  # what was prepared follows
        expected = reference(predictor, x)
        with running_in(predictor, Precision(int16=True), torch.device("cpu")):
            got = predictor(x)
        assert got.equal(predictor(x)) != HAS_INT16_PRODUCTS
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-3 * expected.abs().max().item())


def test_gradients_equal_the_layers() -> None:
    torch.manual_seed(0)
    predictor = MaskRCNNC4Predictor(4, 3, num_classes=5).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([2, 4])
    inputs = [x, *predictor.parameters()]
    own = torch.autograd.grad(predictor(x, labels).square().sum(), inputs)
    expected = torch.autograd.grad(reference(predictor, x)[torch.arange(2), labels].square().sum(), inputs)
    for gradient, other in zip(own, expected, strict=True):
        torch.testing.assert_close(gradient, other)


@pytest.mark.parametrize("num_regions", [0, 1, 64, 150])
def test_parts_give_the_whole(num_regions: int) -> None:
    torch.manual_seed(0)
    predictor = MaskRCNNC4Predictor(4, 3, num_classes=5).double()
    x = torch.randn(num_regions, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(1, 5, (num_regions,))
    inputs = [x, *predictor.parameters()]
    whole, parts = predictor(x, labels), predict_in_parts(predictor, x, labels)
    with torch.no_grad():
        at_inference = predict_in_parts(predictor, x, labels)
        magnitudes = magnitudes_of(predictor)(x.abs(), labels)
    limit = summation_bound(
        magnitudes, num_terms=(4 + 1) + (3 + 1)
    )  # the channels and the bias of both layers
    assert ((parts - whole).abs() <= limit).all() and ((at_inference - whole).abs() <= limit).all()
    expected = torch.autograd.grad(whole.square().sum(), inputs)
    for gradient, other in zip(torch.autograd.grad(parts.square().sum(), inputs), expected, strict=True):
        torch.testing.assert_close(gradient, other)


def test_backward_keeps_no_hidden_maps() -> None:
    predictor = MaskRCNNC4Predictor(8, 8, num_classes=5)
    x = torch.randn(150, 8, 7, 7, requires_grad=True)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def kept_by(run: Callable[..., torch.Tensor], *arguments: object) -> int:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            result = run(*arguments)
        assert result.grad_fn is not None
        return sum(kept.values())

    labels = torch.ones(150, dtype=torch.int64)
    hidden = 4 * 150 * 8 * 7 * 7 * x.element_size()
    assert kept_by(predictor, x, labels) >= hidden
    assert kept_by(predict_in_parts, predictor, x, labels) < hidden / 2


def test_gradients_have_the_weights_strides() -> None:
    predictor = MaskRCNNC4Predictor(4, 3, num_classes=5).to(memory_format=torch.channels_last)
    predictor(torch.randn(2, 4, 3, 3), torch.tensor([1, 2])).sum().backward()
    for name, parameter in predictor.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.stride() == parameter.stride(), name


def test_no_regions() -> None:
    assert MaskRCNNC4Predictor(4, 3, 5)(torch.zeros(0, 4, 14, 14), torch.zeros(0).long()).shape == (0, 28, 28)


def test_loss_counts_positives_only() -> None:
    logits = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(0))
    targets = (torch.rand(4, 6, 6, generator=torch.Generator().manual_seed(1)) > 0.5).to(torch.uint8)
    positive = torch.tensor([True, False, True, False])
    expected = torch.nn.functional.binary_cross_entropy(logits[positive].sigmoid(), targets[positive].float())
    total, num_pixels = mask_loss(logits, targets, positive)
    assert num_pixels == 2 * 6 * 6
    torch.testing.assert_close(total / num_pixels, expected)
    assert mask_loss(logits, targets, torch.zeros(4, dtype=torch.bool)) == (0, 0)
