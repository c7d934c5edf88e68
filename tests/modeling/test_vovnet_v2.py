"""VoVNetV2: published names and sizes, the modules written out, and what each key changes."""

from __future__ import annotations

import pytest
import torch
from layers.norm_cases import fixed_batch_norm
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import cfg as defaults
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, group_norm_factory
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.backbone.vovnet import VoVNet, VoVNetSpec
from maskrcnn_benchmark.modeling.backbone.vovnet_v2 import VOVNET_V2_SPECS
from maskrcnn_benchmark.modeling.registry import BODIES

SMALL = VoVNetSpec((16, 16, 24, 24), (32, 48, 64, 64), (1, 1, 2, 2), 2, stem_channels=24, squeeze="every")
SMALL_DW = VoVNetSpec((24, 16, 24, 24), (24, 48, 64, 64), (1, 1, 2, 2), 2, 24, depthwise=True, squeeze="last")
# vovnet-detectron2's names of the first stages; "norm" stands for weight, bias, running_mean and running_var
V2_19_DW_HEAD = """
stem.stem_1/conv.weight 64,3,3,3
stem.stem_1/norm
stem.stem_2/dw_conv3x3.weight 64,1,3,3
stem.stem_2/pw_conv1x1.weight 64,64,1,1
stem.stem_2/pw_norm
stem.stem_3/dw_conv3x3.weight 64,1,3,3
stem.stem_3/pw_conv1x1.weight 64,64,1,1
stem.stem_3/pw_norm
stage2.OSA2_1.conv_reduction.OSA2_1_reduction_0/conv.weight 128,64,1,1
stage2.OSA2_1.conv_reduction.OSA2_1_reduction_0/norm
stage2.OSA2_1.layers.0.OSA2_1_0/dw_conv3x3.weight 128,1,3,3
stage2.OSA2_1.layers.0.OSA2_1_0/pw_conv1x1.weight 128,128,1,1
stage2.OSA2_1.layers.0.OSA2_1_0/pw_norm
stage2.OSA2_1.layers.1.OSA2_1_1/dw_conv3x3.weight 128,1,3,3
stage2.OSA2_1.layers.1.OSA2_1_1/pw_conv1x1.weight 128,128,1,1
stage2.OSA2_1.layers.1.OSA2_1_1/pw_norm
stage2.OSA2_1.layers.2.OSA2_1_2/dw_conv3x3.weight 128,1,3,3
stage2.OSA2_1.layers.2.OSA2_1_2/pw_conv1x1.weight 128,128,1,1
stage2.OSA2_1.layers.2.OSA2_1_2/pw_norm
stage2.OSA2_1.concat.OSA2_1_concat/conv.weight 256,448,1,1
stage2.OSA2_1.concat.OSA2_1_concat/norm
stage2.OSA2_1.ese.fc.weight 256,256,1,1
stage2.OSA2_1.ese.fc.bias 256
"""


def body_of(name: str, *opts: object) -> VoVNet:
    cfg = defaults.clone()
    cfg.merge_from_list(list(opts))
    with torch.device("meta"):
        body = BODIES[name](cfg, name)
    assert isinstance(body, VoVNet)
    return body


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("V-27-slim", 3_525_736),
        ("V-39", 22_600_296),
        ("V-57", 36_640_296),
        ("V2-19-slim-dw", 1_897_752),
        ("V2-19-slim", 3_166_136),
        ("V2-19-dw", 6_543_080),
        ("V2-39", 24_568_936),
        ("V2-57", 38_608_936),
        ("V2-99", 63_199_272),
    ],
)
def test_published_parameter_counts_as_classifiers(name: str, parameters: int) -> None:
    body = body_of(name, "MODEL.BACKBONE.NORM", "BN")
    classifier = nn.Sequential(body, nn.Linear(body.out_channels[-1], 1000, device="meta"))
    assert sum(parameter.numel() for parameter in classifier.parameters()) == parameters


def test_names_of_the_separable_variant() -> None:
    want = []
    for line in V2_19_DW_HEAD.split("\n")[1:-1]:
        name, _, shape = line.partition(" ")
        if shape:
            want.append((name, tuple(map(int, shape.split(",")))))
        else:
            parts = ("weight", "bias", "running_mean", "running_var")
            width = want[-1][1][0]
            want += [(f"{name}.{part}", (width,)) for part in parts]
    got = {name: tuple(tensor.shape) for name, tensor in body_of("V2-19-dw").state_dict().items()}
    assert {name: shape for name, shape in got.items() if name.startswith(("stem", "stage2"))} == dict(want)
    slim = body_of("V2-19-slim-dw").state_dict()
    reduced = {name.split(".")[0] for name in slim if "_reduction_0" in name}
    assert reduced == {"stage3", "stage4", "stage5"}  # the second stage's input has the width of its layers


@pytest.mark.parametrize(("every", "expected"), [(False, 4), (True, 16)])
def test_which_modules_squeeze(every: bool, expected: int) -> None:
    names = body_of("V2-99", "MODEL.VOVNET.SQUEEZE_EVERY_MODULE", every).state_dict()
    squeezing = [name.split(".")[1] for name in names if name.endswith("ese.fc.weight")]
    assert len(squeezing) == expected
    assert {"OSA2_1", "OSA3_3", "OSA4_9", "OSA5_3"} <= set(squeezing)
    assert sum("concat/conv.weight" in name for name in names) == 16


def test_keys_of_the_family() -> None:
    assert not body_of("V-39", "MODEL.VOVNET.IDENTITY", False).get_submodule("stage4.OSA4_2").identity
    assert body_of("V2-39").get_submodule("stage4.OSA4_2").identity
    assert not body_of("V2-39").get_submodule("stage4.OSA4_1").identity
    assert body_of("V-27-slim").out_channels == (128, 256, 384, 512)
    with pytest.raises(ValueError, match=r"MODEL\.VOVNET\.OUT_CHANNELS = 128.*V2-19-slim gives 112"):
        body_of("V2-19-slim", "MODEL.VOVNET.OUT_CHANNELS", 128)
    norms = {type(module) for module in body_of("V2-19", "MODEL.BACKBONE.NORM", "SyncBN").modules()}
    assert nn.SyncBatchNorm in norms and FrozenBatchNorm2d not in norms


def reference(weights: dict[str, Tensor], spec: VoVNetSpec, x: Tensor, groups: int) -> list[Tensor]:
    """The figure of the paper in a plain loop over the published names. groups: of group norm, or 0."""

    def norm(name: str, x: Tensor) -> Tensor:
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        if groups:
            return F.group_norm(x, groups, scale, shift, 1e-5)
        mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        return fixed_batch_norm(x, scale, shift, mean, var)

    def layer(name: str, x: Tensor, stride: int = 1) -> Tensor:
        if f"{name}/conv.weight" in weights:
            weight = weights[f"{name}/conv.weight"]
            return norm(f"{name}/norm", F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)).relu()
        x = F.conv2d(x, weights[f"{name}/dw_conv3x3.weight"], None, stride, 1, groups=x.shape[1])
        return norm(f"{name}/pw_norm", F.conv2d(x, weights[f"{name}/pw_conv1x1.weight"])).relu()

    for number, stride in ((1, 2), (2, 1), (3, 2)):
        x = layer(f"stem.stem_{number}", x, stride)
    outputs = []
    for stage, modules in enumerate(spec.modules, start=2):
        x = F.max_pool2d(x, 3, 2, ceil_mode=True) if stage > 2 else x
        for number in range(1, modules + 1):
            osa = f"OSA{stage}_{number}"
            path = f"stage{stage}.{osa}"
            reduction = f"{path}.conv_reduction.{osa}_reduction_0"
            link = layer(reduction, x) if f"{reduction}/conv.weight" in weights else x
            parts = [x]
            for index in range(spec.layers_per_module):
                link = layer(f"{path}.layers.{index}.{osa}_{index}", link)
                parts.append(link)
            out = layer(f"{path}.concat.{osa}_concat", torch.cat(parts, 1))
            if f"{path}.ese.fc.weight" in weights:
                mean = out.flatten(2).mean(2)
                fc = weights[f"{path}.ese.fc.weight"].flatten(1)
                factor = (mean @ fc.T + weights[f"{path}.ese.fc.bias"] + 3).clamp(0, 6) / 6
                out = out * factor[:, :, None, None]
            x = out if number == 1 else out + x
        outputs.append(x)
    return outputs


@pytest.mark.parametrize("spec", [SMALL, SMALL_DW], ids=["every", "depthwise"])
@pytest.mark.parametrize("groups", [0, 4])
def test_modules_written_out(spec: VoVNetSpec, groups: int) -> None:
    """Maps, with gradients on and off (twice: prepared weights), and the gradients of every parameter."""
    torch.manual_seed(0)
    body = VoVNet(spec, group_norm_factory(groups, 1e-5) if groups else FrozenBatchNorm2d)
    for name, tensor in body.state_dict().items():
        if name.endswith("running_var") or (tensor.dim() == 1 and name.endswith("weight")):
            tensor.uniform_(0.7, 1.3)
        elif tensor.dim() == 1:
            tensor.normal_(std=0.2)
    weights = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    leaves = {name: weights[name].requires_grad_() for name, _ in body.named_parameters()}
    images = torch.randn(2, 3, 75, 64)
    want, got = reference(weights, spec, images, groups), body(images)
    sum(feature.square().mean() for feature in want).backward()  # type: ignore[union-attr]
    sum(feature.square().mean() for feature in got).backward()
    with torch.no_grad():
        runs = [got, body.eval()(images), body(images)]
    for maps in runs:
        for ours, theirs in zip(maps, want, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())
    for name, parameter in body.named_parameters():
        exact = leaves[name].grad
        assert parameter.grad is not None and exact is not None
        largest = exact.abs().max().item()
        assert largest > 0, name
        torch.testing.assert_close(parameter.grad, exact, rtol=0, atol=1e-4 * largest)


def test_bfloat16_autocast_stays_near_float32() -> None:
    torch.manual_seed(0)
    body, images = VoVNet(SMALL_DW, FrozenBatchNorm2d), torch.randn(1, 3, 64, 96)
    for training in (True, False):
        body.train(training)
        with torch.set_grad_enabled(training):
            want = body(images)
            with torch.autocast("cpu", torch.bfloat16):
                got = body(images)
        for ours, exact in zip(got, want, strict=True):
            assert ours.dtype == torch.bfloat16
            assert (ours.float() - exact).norm() < 0.05 * exact.norm()


def test_compiles_without_a_graph_break() -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    body, images = VoVNet(SMALL_DW, FrozenBatchNorm2d), torch.randn(1, 3, 64, 64)
    for got, want in zip(
        torch.compile(body, fullgraph=True, backend="eager")(images), body(images), strict=True
    ):
        torch.testing.assert_close(got, want)
    torch.compiler.reset()


def test_every_member_is_registered() -> None:
    for name in VOVNET_V2_SPECS:
        cfg = defaults.clone()
        cfg.MODEL.BACKBONE.CONV_BODY = f"{name}-FPN"
        with torch.device("meta"):
            assert build_backbone(cfg).strides == (4, 8, 16, 32, 64)
