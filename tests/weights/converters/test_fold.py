"""Pixels and eps folded into weights, against networks written out."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from layers.norm_cases import fixed_batch_norm
from torch import Tensor, nn
from weights.converters.proof import normalize, pixels_of_image

from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d
from maskrcnn_benchmark.weights.fold import (
    PixelStatistics,
    adapt_batch_norm_eps,
    first_convolution,
    fold_pixels,
)

RGB = PixelStatistics("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
BGR = PixelStatistics("bgr", (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0))
RGB_OF_ONE = PixelStatistics("rgb", (100.0, 110.0, 120.0), (255.0, 250.0, 245.0))
PREFIX = "backbone.body."


def network(names: tuple[str, ...], bias: bool, norm: nn.Module | None) -> nn.Sequential:
    """A convolution without padding, so that no border differs, and a norm."""
    torch.manual_seed(3)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, bias=bias)]
    if norm is not None:
        layers.append(norm)
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
    return nn.Sequential(OrderedDict(zip(names, layers, strict=True))).double().eval()


def folded(net: nn.Module, source: PixelStatistics, target: PixelStatistics) -> dict[str, Tensor]:
    state = {PREFIX + name: tensor.clone() for name, tensor in net.state_dict().items()}
    return {name.removeprefix(PREFIX): tensor for name, tensor in fold_pixels(state, source, target).items()}


@pytest.mark.parametrize(
    ("source", "target"), [(RGB, BGR), (BGR, RGB), (RGB, RGB_OF_ONE), (RGB_OF_ONE, BGR), (RGB, RGB)]
)
@pytest.mark.parametrize(
    ("names", "bias", "norm"),
    [
        (("stem_1/conv", "stem_1/norm"), False, nn.BatchNorm2d(8)),
        (("conv1", "bn1"), False, nn.BatchNorm2d(8)),
        (("0", "1"), False, nn.BatchNorm2d(8)),
        (("0", "1"), True, nn.BatchNorm2d(8)),
        (("0", "1"), True, nn.GroupNorm(2, 8)),
        (("0",), True, None),
    ],
)
def test_the_folded_network_is_the_same(
    source: PixelStatistics,
    target: PixelStatistics,
    names: tuple[str, ...],
    bias: bool,
    norm: nn.Module | None,
) -> None:
    """In double precision, each on the image as its statistics have it."""
    net = network(names, bias, norm)
    image = pixels_of_image().double()
    with torch.no_grad():
        want = net(normalize(image, source))
        net.load_state_dict(folded(net, source, target))
        got = net(normalize(image, target))
    # the statistics are float32 in `normalize`
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5 * want.abs().max().item())


def test_zero_padding_is_the_one_difference() -> None:
    """Inside, nothing differs; at the border the padding's colour does."""
    net = network(("conv1", "bn1"), False, nn.BatchNorm2d(8))
    conv = net.get_submodule("conv1")
    assert isinstance(conv, nn.Conv2d)
    conv.padding = (1, 1)
    image = pixels_of_image().double()
    with torch.no_grad():
        want = net(normalize(image, RGB))
        net.load_state_dict(folded(net, RGB, BGR))
        difference = (net(normalize(image, BGR)) - want).abs()
    assert difference[:, :, 1:-1, 1:-1].max() < 1e-5
    border = difference.clone()
    border[:, :, 1:-1, 1:-1] = 0
    assert border.max() > 1e-4


def test_group_norm_does_not_take_up_a_mean() -> None:
    """Without bias and batch norm a mean has no place; scale and order alone do."""
    net = network(("0", "1"), False, nn.GroupNorm(2, 8))
    with pytest.raises(ValueError, match=r"INPUT\.PIXEL_MEAN"):
        folded(net, RGB, BGR)
    same_mean = PixelStatistics("bgr", RGB.mean[::-1], (1.0, 1.0, 1.0))
    image = pixels_of_image().double()
    with torch.no_grad():
        want = net(normalize(image, RGB))
        net.load_state_dict(folded(net, RGB, same_mean))
        got = net(normalize(image, same_mean))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_half_precision_becomes_float32() -> None:
    """A half would round what is folded; its source is not changed."""
    weight = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(0)).half()
    state = {f"{PREFIX}conv1.weight": weight, f"{PREFIX}bn1.running_mean": torch.zeros(8).half()}
    before = weight.clone()
    result = fold_pixels(state, RGB, BGR)
    assert {tensor.dtype for tensor in result.values()} == {torch.float32}
    assert torch.equal(state[f"{PREFIX}conv1.weight"], before)


def test_no_single_first_convolution() -> None:
    with pytest.raises(ValueError, match="are none"):
        first_convolution({f"{PREFIX}conv1.weight": torch.empty(8, 4, 3, 3)})
    two = {f"{PREFIX}{name}.weight": torch.empty(8, 3, 3, 3) for name in ("conv1", "conv2")}
    with pytest.raises(ValueError, match=r"conv1\.weight, .*conv2\.weight"):
        first_convolution(two)
    assert first_convolution({"rpn.weight": torch.empty(1, 3, 3, 3)} | dict(list(two.items())[:1])) == (
        f"{PREFIX}conv1.weight"
    )


@pytest.mark.parametrize("source_eps", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize("target", [FrozenBatchNorm2d(4), nn.BatchNorm2d(4), nn.SyncBatchNorm(4, eps=1e-2)])
def test_every_eps_in_every_norm(source_eps: float, target: nn.Module) -> None:
    """Also where the model's own eps is more than variance and source's eps together: the weight takes it."""
    source = nn.BatchNorm2d(4)
    assert source.running_mean is not None and source.running_var is not None
    source.running_mean.copy_(torch.tensor([0.1, -0.2, 0.0, 1.0]))
    source.running_var.copy_(torch.tensor([1.0, 1e-6, 1e-4, 30.0]))
    with torch.no_grad():
        source.weight.copy_(torch.tensor([1.0, 0.01, -2.0, 3.0]))
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    state = {f"norm.{name}": tensor for name, tensor in source.state_dict().items()}
    adapted = adapt_batch_norm_eps(state, source_eps, nn.ModuleDict({"norm": target}))
    assert (adapted["norm.running_var"] >= 0).all()
    target.load_state_dict(
        {name.removeprefix("norm."): tensor for name, tensor in adapted.items()},
        strict=not isinstance(target, FrozenBatchNorm2d),
    )
    with torch.no_grad():
        want = fixed_batch_norm(
            x, source.weight, source.bias, source.running_mean, source.running_var, source_eps
        )
        got = target.eval()(x)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_a_stage_that_moves_into_the_head() -> None:
    """An entry under a name that the model does not have meets norms as the model's others."""
    variance = torch.ones(4)
    model = nn.ModuleDict({"body": nn.BatchNorm2d(4, eps=0.5), "conv": nn.Conv2d(3, 4, 1)})
    adapted = adapt_batch_norm_eps({"layer4.bn1.running_var": variance, "x.mean": variance}, 0.25, model)
    assert torch.equal(adapted["layer4.bn1.running_var"], variance - 0.25)
    assert adapted["x.mean"] is variance


def test_statistics_are_checked() -> None:
    with pytest.raises(ValueError, match="'grb': allowed are bgr, rgb"):
        PixelStatistics("grb", RGB.mean, RGB.std)
    with pytest.raises(ValueError, match="values above 0"):
        PixelStatistics("rgb", RGB.mean, (1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="three values"):
        PixelStatistics("rgb", RGB.mean[:2], RGB.std)  # type: ignore[arg-type]
