"""Backbones as a config asks for them: sizes, freezing, errors, compiling, low precision, distributed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from maskrcnn_benchmark.config import cfg as defaults
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, group_norm_factory
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.backbone.backbone import Backbone
from maskrcnn_benchmark.modeling.backbone.fpn import FPN, LastLevelMaxPool
from maskrcnn_benchmark.modeling.backbone.resnet import ResNet, ResNetSpec
from maskrcnn_benchmark.modeling.backbone.vovnet import VoVNet, VoVNetSpec

GN = ("MODEL.FPN.USE_GN", True, "MODEL.VOVNET.USE_GN", True)
R_GN = (
    "MODEL.FPN.USE_GN",
    True,
    "MODEL.RESNETS.TRANS_FUNC",
    "BottleneckWithGN",
    "MODEL.RESNETS.STEM_FUNC",
    "StemWithGN",
)
RESNEXT = (
    "MODEL.RESNETS.NUM_GROUPS",
    32,
    "MODEL.RESNETS.WIDTH_PER_GROUP",
    8,
    "MODEL.RESNETS.STRIDE_IN_1X1",
    False,
)


def build(name: str, *opts: object, freeze_at: int = 0) -> Backbone:
    cfg = defaults.clone()
    cfg.merge_from_list(["MODEL.BACKBONE.CONV_BODY", name, "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", freeze_at])
    cfg.merge_from_list(["MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 256, *opts])
    backbone = build_backbone(cfg)
    assert isinstance(backbone, Backbone)
    return backbone


def small_backbone(kind: str, shallow: bool = False) -> Backbone:
    """A narrow backbone of every kind of layer, with norms away from the identity."""
    torch.manual_seed(7)
    use_gn = kind.endswith("GN")
    norm = group_norm_factory(4, 1e-5) if use_gn else FrozenBatchNorm2d
    body: VoVNet | ResNet
    if kind.startswith("V"):
        body = VoVNet(VoVNetSpec((16,) * 4, (16, 24, 32, 32), (1, 1, 1, 2), 1 if shallow else 3), norm)
    else:
        spec = ResNetSpec((1, 1, 1, 2), stem_channels=16, res2_channels=32, width_per_group=8)
        body = ResNet(spec, norm, norm)
    for name, tensor in body.state_dict().items():
        if tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5) if name.endswith(("weight", "var")) else tensor.normal_(std=0.1)
    fpn = FPN(body.out_channels, 16, norm if use_gn else None, top_block=LastLevelMaxPool())
    return Backbone(body, fpn).to(memory_format=torch.channels_last)


KINDS = ["V", "V-GN", "R", "R-GN"]


def total(features: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([feature.float().square().mean() for feature in features]).sum()


@pytest.mark.parametrize(
    ("name", "opts", "body_parameters", "parameters"),
    [
        ("V-39-FPN", (), 21_554_880, 24_571_584),
        ("V-39-FPN", GN, 21_575_296, 24_594_048),
        ("V-57-FPN", (), 35_583_680, 38_600_384),
        ("V-57-FPN", GN, 35_615_296, 38_634_048),
        ("V-75-FPN", (), 45_876_928, 48_893_632),
        ("V-93-FPN", (), 56_170_176, 59_186_880),
        ("R-50-FPN", (), 23_454_912, 26_799_296),
        ("R-50-FPN", R_GN, 23_508_032, 26_854_464),
        ("R-101-FPN", (), 42_394_816, 45_739_200),
        ("R-101-FPN", RESNEXT, 86_539_456, 89_883_840),
    ],
)
def test_published_parameter_counts(
    name: str, opts: tuple[object, ...], body_parameters: int, parameters: int
) -> None:
    with torch.device("meta"):
        backbone = build(name, *opts)
    assert sum(parameter.numel() for parameter in backbone.body.parameters()) == body_parameters
    assert sum(parameter.numel() for parameter in backbone.parameters()) == parameters


def test_published_names() -> None:
    with torch.device("meta"):
        plain, normed = build("V-39-FPN").state_dict(), build("V-39-FPN", *GN).state_dict()
        resnet, with_relu = (
            build("R-50-FPN").state_dict(),
            build("R-50-FPN", "MODEL.FPN.USE_RELU", True).state_dict(),
        )
    assert list(plain)[:2] == ["body.stem.stem_1/conv.weight", "body.stem.stem_1/norm.weight"]
    assert plain["body.stage2.OSA2_1.layers.0.OSA2_1_0/conv.weight"].shape == (128, 128, 3, 3)
    assert plain["body.stage4.OSA4_2.concat.OSA4_2_concat/norm.running_var"].shape == (768,)
    assert plain["fpn.fpn_inner1.bias"].shape == (256,) and "fpn.fpn_layer4.weight" in plain
    assert normed["fpn.fpn_inner1.0.weight"].shape == (256, 256, 1, 1)
    assert normed["fpn.fpn_layer4.1.bias"].shape == (256,) and "fpn.fpn_layer4.0.bias" not in normed
    assert resnet["body.stem.conv1.weight"].shape == (64, 3, 7, 7)
    assert resnet["body.layer3.5.bn2.running_mean"].shape == (256,)
    assert resnet["body.layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert {"fpn.fpn_inner2.0.weight", "fpn.fpn_inner2.0.bias"} <= set(with_relu)


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("V-39-FPN", ["stem", "stage2", "stage3", "stage4", "stage5"]),
        ("R-50-FPN", ["stem", "layer1", "layer2", "layer3", "layer4"]),
    ],
)
def test_freezing_counts_the_stem_first(name: str, stages: list[str]) -> None:
    for freeze_at in (-1, 0, 1, 2, 5):
        with torch.device("meta"):
            backbone = build(name, freeze_at=freeze_at)
        frozen = {
            parameter_name.split(".")[1]
            for parameter_name, parameter in backbone.named_parameters()
            if not parameter.requires_grad
        }
        assert frozen == set(stages[: max(freeze_at, 0)])


def test_frozen_stages_get_no_gradient_and_the_others_the_same_one() -> None:
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for freeze_at in (0, 2):
        backbone = small_backbone("R").double()
        for stage in backbone.body.stages[:freeze_at]:
            stage.requires_grad_(False)
        total(backbone(images)).backward()
        gradients.append({name: parameter.grad for name, parameter in backbone.named_parameters()})
    for name, gradient in gradients[1].items():
        if name.startswith(("body.stem", "body.layer1")):
            assert gradient is None
        else:
            torch.testing.assert_close(gradient, gradients[0][name])


@pytest.mark.parametrize(
    ("name", "opts", "message"),
    [
        ("V-93-FPM", (), r"nearest: V-93-FPN.*known: .*R-50-FPN"),
        ("V-39-FPN", ("MODEL.VOVNET.OUT_CHANNELS", 128), r"MODEL\.VOVNET\.OUT_CHANNELS = 128.*256"),
        (
            "R-50-FPN",
            ("MODEL.RESNETS.TRANS_FUNC", "Bottleneck"),
            r"TRANS_FUNC = 'Bottleneck'.*BottleneckWithGN",
        ),
        ("R-50-FPN", ("MODEL.RESNETS.STEM_FUNC", "BaseStem"), r"STEM_FUNC = 'BaseStem'.*StemWithGN"),
        ("R-50-FPN", ("MODEL.RESNETS.RES5_DILATION", 2), r"RES5_DILATION = 2"),
        ("R-50-FPN", ("MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 6), r"FREEZE_CONV_BODY_AT = 6.*0 .* to 5"),
        ("R-50-FPN", (*R_GN, "MODEL.GROUP_NORM.NUM_GROUPS", 48), r"64 channels.*NUM_GROUPS"),
    ],
)
def test_errors_name_the_key_and_the_mend(name: str, opts: tuple[object, ...], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build(name, *opts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 96), (75, 53), (97, 128)])
def test_levels_sizes_and_layout(kind: str, size: tuple[int, int]) -> None:
    backbone = small_backbone(kind).eval()
    with torch.no_grad():
        levels = backbone(torch.randn(2, 3, *size))
    assert len(levels) == 5 and all(level.shape[:2] == (2, 16) for level in levels)
    for finer, coarser in pairwise(levels):
        halved = [(side + 1) // 2 for side in finer.shape[2:]]
        # VoVNet's pooling has no padding: its windows cover an odd map with one row fewer
        assert all(half - 1 <= side <= half for side, half in zip(coarser.shape[2:], halved, strict=True))
    assert all(level.is_contiguous(memory_format=torch.channels_last) for level in levels)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_channels_last_and_initialised(kind: str) -> None:
    backbone = (
        build("V-27-slim-FPN", "MODEL.VOVNET.OUT_CHANNELS", 128) if kind == "V" else small_backbone(kind)
    )
    for name, parameter in backbone.named_parameters():
        assert torch.isfinite(parameter).all(), name
        if parameter.dim() == 4:
            assert parameter.std() > 0, name
            if kind == "V":
                assert parameter.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize(
    ("kind", "training", "backend"),
    [("V", False, "eager"), ("V", True, "aot_eager"), ("V-GN", True, "eager"), ("R", True, "eager")],
)
def test_compiles_without_a_graph_break(kind: str, training: bool, backend: str) -> None:
    """Whole, forward and backward; with aot_eager the backward graph is traced as well."""
    backbone, images = small_backbone(kind, shallow=True).train(training), torch.randn(1, 3, 64, 96)
    compiled = torch.compile(backbone, fullgraph=True, backend=backend)
    with torch.set_grad_enabled(training):
        got, want = compiled(images), backbone(images)
    for ours, exact in zip(got, want, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-4)
    if training:
        parameters = list(backbone.parameters())
        exact_gradients = torch.autograd.grad(total(want), parameters)
        for ours, exact in zip(torch.autograd.grad(total(got), parameters), exact_gradients, strict=True):
            torch.testing.assert_close(ours, exact, rtol=1e-3, atol=1e-4 * (exact.abs().max().item() + 1e-6))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_autocast_stays_near_float32(kind: str) -> None:
    backbone, images = small_backbone(kind), torch.randn(1, 3, 64, 96)
    for training in (True, False):
        backbone.train(training)
        with torch.set_grad_enabled(training):
            want = backbone(images)
            with torch.autocast("cpu", torch.bfloat16):
                got = backbone(images)
        for ours, exact in zip(got, want, strict=True):
            assert ours.dtype == torch.bfloat16
            assert (ours.float() - exact).norm() < 0.05 * exact.norm()
    backbone.train()
    with torch.autocast("cpu", torch.bfloat16):
        levels = backbone(images)
    total(levels).backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in backbone.parameters())


def test_training_does_not_see_what_inference_prepared() -> None:
    """Train, test, train, test: each test runs on the weights of its moment."""
    backbone, images = small_backbone("V"), torch.randn(1, 3, 64, 64)
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    last: Tensor | None = None
    for _ in range(3):
        backbone.train()
        optimizer.zero_grad()
        total(backbone(images)).backward()
        nn.utils.clip_grad_norm_(backbone.parameters(), 1.0)
        optimizer.step()
        backbone.eval()
        want = backbone(images)  # with gradients: nothing prepared is used
        assert last is None or not torch.allclose(want[0], last, rtol=1e-3)
        last = want[0].detach()
        with torch.no_grad():
            for ours, exact in zip(backbone(images), want, strict=True):
                torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-4 * exact.abs().max().item())


def test_gradients_under_distributed_data_parallel(tmp_path: Path) -> None:
    backbone, images = small_backbone("V"), torch.randn(1, 3, 64, 64)
    want = torch.autograd.grad(total(backbone(images)), list(backbone.parameters()))
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    try:
        wrapped: nn.Module = DistributedDataParallel(backbone)
        for _ in range(2):
            wrapped.zero_grad()
            total(wrapped(images)).backward()
    finally:
        dist.destroy_process_group()
    for parameter, gradient in zip(backbone.parameters(), want, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient)
