"""ConvNormAct runs whatever convolution and norm it is given; so do the modules made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.conv_block import ConvNormAct
from maskrcnn_benchmark.layers.conv_norm import Conv2d
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, NormFactory, group_norm_factory
from maskrcnn_benchmark.modeling.backbone.fpn import FPN
from maskrcnn_benchmark.modeling.backbone.resnet import ResNet, ResNetSpec
from maskrcnn_benchmark.modeling.backbone.vovnet import VoVNet, VoVNetSpec
from maskrcnn_benchmark.modeling.roi_heads.box_head.feature_extractors import FPNXconv1fcFeatureExtractor
from maskrcnn_benchmark.modeling.roi_heads.mask_head.feature_extractors import MaskRCNNFPNFeatureExtractor

MAP = torch.randn(1, 16, 32, 32, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))

# A module, and how to run it.
Runnable = tuple[nn.Module, Callable[[], Sequence[Tensor]]]


class GuestNorm(nn.Module):
    """A norm that no file here has heard of. Its last step keeps its output for backward."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 0.5))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return (x * self.weight.view(-1, 1, 1)).tanh()


class GuestConv(nn.Module):
    """A convolution that no file here has heard of: a plain one, times two."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.plain = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.plain(x)


class GuestSubclass(nn.Conv2d):
    """One that is an nn.Conv2d with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def pooler() -> Any:
    """Stands in for RoIAlign: a region is the whole map."""
    made = nn.Identity()
    made.forward = lambda features, rois: features[0]  # type: ignore[method-assign, assignment]
    made.output_size = (32, 32)  # type: ignore[assignment]
    return made


def run_fpn(norm: NormFactory) -> Runnable:
    module = FPN((16, 16), 16, norm, relu=True)
    return module, lambda: module((MAP, MAP[:, :, ::2, ::2]))


def run_resnet(norm: NormFactory) -> Runnable:
    module = ResNet(
        ResNetSpec((1, 1, 1, 2), stem_channels=16, res2_channels=32, width_per_group=8), norm, norm
    )
    return module, lambda: module(IMAGE)


def run_basic_resnet(norm: NormFactory) -> Runnable:
    spec = ResNetSpec((1, 1, 1, 2), bottleneck=False, stem_channels=16, res2_channels=64)
    module = ResNet(spec, norm, norm)
    return module, lambda: module(IMAGE)


def run_vovnet(norm: NormFactory) -> Runnable:
    module = VoVNet(VoVNetSpec((16,) * 4, (16, 24, 32, 32), (1, 1, 1, 2), 2), norm)
    return module, lambda: module(IMAGE)


def run_separable_vovnet(norm: NormFactory) -> Runnable:
    spec = VoVNetSpec((16,) * 4, (16, 24, 32, 32), (1, 1, 1, 2), 2, 64, depthwise=True, squeeze="last")
    module = VoVNet(spec, norm)
    return module, lambda: module(IMAGE)


def run_box_head(norm: NormFactory) -> Runnable:
    module = FPNXconv1fcFeatureExtractor(pooler(), 16, 16, 3, 16, norm)
    return module, lambda: (module([MAP], torch.zeros(1, 5)),)


def run_mask_head(norm: NormFactory) -> Runnable:
    module = MaskRCNNFPNFeatureExtractor(pooler(), 16, (16, 16, 16), norm=norm)
    return module, lambda: (module([MAP], torch.zeros(1, 5)),)


PLACES = [
    run_fpn,
    run_resnet,
    run_basic_resnet,
    run_vovnet,
    run_separable_vovnet,
    run_box_head,
    run_mask_head,
]


def layer_by_layer(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every block run its layers one after the other, nothing in place."""

    def run(block: ConvNormAct, index: int, x: Tensor, residual: Tensor | None = None) -> Tensor:
        conv, norm = block.layers_of(index)
        out = nn.Module.__call__(conv, x)
        out = out if norm is None else norm(out)
        out = out if residual is None else out + residual
        return out.relu() if block.links[index].relu else out

    monkeypatch.setattr(ConvNormAct, "run", run)


@pytest.mark.parametrize("place", PLACES)
def test_a_norm_of_any_kind_runs_once_for_each_time_it_was_made(
    place: Callable[[NormFactory], Runnable],
) -> None:
    made: list[GuestNorm] = []

    def factory(channels: int) -> nn.Module:
        made.append(GuestNorm(channels))
        return made[-1]

    module, run = place(factory)
    assert made
    for training in (True, False):
        module.train(training)
        with torch.set_grad_enabled(training):
            outputs = run()
        if training:
            torch.stack([output.sum() for output in outputs]).sum().backward()
            assert all(norm.weight.grad is not None and norm.weight.grad.any() for norm in made)
    assert {norm.calls for norm in made} == {2}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "norm",
    [FrozenBatchNorm2d, nn.InstanceNorm2d, nn.BatchNorm2d, group_norm_factory(4, 1e-5), GuestNorm],
    ids=lambda norm: getattr(norm, "__name__", "GroupNorm"),
)
def test_places_give_what_their_layers_give_one_by_one(
    place: Callable[[NormFactory], Runnable],
    norm: NormFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    module, run = place(norm)
    module.train()
    with torch.no_grad():
        fused = run()
    layer_by_layer(module, monkeypatch)
    with torch.no_grad():
        for got, want in zip(fused, run(), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=2e-5 * want.abs().max().item())


@pytest.mark.parametrize("conv", [GuestConv(16, 16), GuestSubclass(16, 16, 3, padding=1, bias=False)])
@pytest.mark.parametrize("norm", [FrozenBatchNorm2d(16), GuestNorm(16), None])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_residual", [True, False])
def test_a_convolution_of_any_kind_runs_with_its_norm(
    conv: nn.Module, norm: nn.Module | None, relu: bool, with_residual: bool
) -> None:
    if isinstance(norm, FrozenBatchNorm2d):
        norm.weight.fill_(3.0)
        norm.bias.fill_(-0.5)
    block = ConvNormAct().add(conv, norm, relu)
    residual = MAP.flip(1) if with_residual else None
    want = conv(MAP) if norm is None else norm(conv(MAP))
    want = want if residual is None else want + residual
    want = want.relu() if relu else want
    for training in (True, False):
        with torch.set_grad_enabled(training):
            got = block.train(training).run(0, MAP, None if residual is None else residual.clone())
        torch.testing.assert_close(got, want)


def test_children_have_the_names_that_are_given() -> None:
    block = ConvNormAct()
    block.add(Conv2d(3, 4, 1), names=("first/conv", ""), relu=False)
    block.add(Conv2d(4, 5, 1, bias=False), GuestNorm(5), names=("second/conv", "second/norm"))
    assert list(block.state_dict()) == [
        *("first/conv.weight", "first/conv.bias", "second/conv.weight", "second/norm.weight")
    ]
    assert [name for name, _ in block.named_children()] == ["first/conv", "second/conv", "second/norm"]
    assert block.layers_of(0)[1] is None
