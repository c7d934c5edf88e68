"""VoVNets of both versions against timm's, weights and statistics at random, the maps of all four strides."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, NormFactory
from maskrcnn_benchmark.modeling.backbone.vovnet import VOVNET_SPECS, VoVNet, VoVNetSpec
from maskrcnn_benchmark.modeling.backbone.vovnet_v2 import VOVNET_V2_SPECS

timm_vovnet = pytest.importorskip("timm.models.vovnet")

# timm's first version never adds a module's input, which the published checkpoints of the family do.
PAIRS = {
    "vovnet39a": replace(VOVNET_SPECS["V-39"], identity=False),
    "ese_vovnet19b_slim_dw": VOVNET_V2_SPECS["V2-19-slim-dw"],
    "ese_vovnet19b_dw": VOVNET_V2_SPECS["V2-19-dw"],
    "ese_vovnet19b_slim": VOVNET_V2_SPECS["V2-19-slim"],
    "ese_vovnet19b": VOVNET_V2_SPECS["V2-19"],
    "ese_vovnet39b": VOVNET_V2_SPECS["V2-39"],
    "ese_vovnet57b": VOVNET_V2_SPECS["V2-57"],
    "ese_vovnet99b": VOVNET_V2_SPECS["V2-99"],
}
LARGE = ("ese_vovnet57b", "ese_vovnet99b")
BLOCK = re.compile(r"stages\.(\d)\.blocks\.(\d+)\.(conv_mid\.(\d)|conv_concat|conv_reduction|attn)\.(.*)")


def our_name(name: str, separable: bool) -> str:
    """The parameter's name here; separable: its 3x3 convolution is in two parts."""
    if match := BLOCK.fullmatch(name):
        stage, block, part, layer, rest = match.groups()
        module = f"OSA{int(stage) + 2}_{int(block) + 1}"
        if part == "attn":
            return f"stage{int(stage) + 2}.{module}.ese.{rest}"
        prefix = {
            "conv_concat": f"concat.{module}_concat",
            "conv_reduction": f"conv_reduction.{module}_reduction_0",
        }.get(part, f"layers.{layer}.{module}_{layer}")
        prefix = f"stage{int(stage) + 2}.{module}.{prefix}"
    else:
        _, layer, rest = name.split(".", 2)
        prefix = f"stem.stem_{int(layer) + 1}"
    rest = rest.replace("bn.", "pw_norm." if separable else "norm.")
    return f"{prefix}/{rest.replace('conv_dw', 'dw_conv3x3').replace('conv_pw', 'pw_conv1x1')}"


def convert(theirs: nn.Module, var_shift: float) -> dict[str, Tensor]:
    state = theirs.state_dict()
    converted = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        separable = f"{name.rsplit('.', 2)[0]}.conv_dw.weight" in state
        converted[our_name(name, separable)] = tensor + var_shift if name.endswith("running_var") else tensor
    return converted


def randomized_timm(name: str) -> nn.Module:
    torch.manual_seed(3)
    model: nn.Module = timm_vovnet.VovNet(timm_vovnet.model_cfgs[name], num_classes=0).eval()
    for key, tensor in model.state_dict().items():
        if key.endswith("running_var") or (tensor.dim() == 1 and key.endswith("weight")):
            tensor.uniform_(0.7, 1.3)
        elif tensor.dim() == 1 and tensor.is_floating_point():
            tensor.normal_(std=0.2)
    return model


def largest_differences(body: VoVNet, theirs: nn.Module, size: tuple[int, int]) -> list[float]:
    """A value a stride, over the largest entry of the map."""
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        got = body.eval()(images)
        want = theirs.forward_intermediates(images, indices=[1, 2, 3, 4], intermediates_only=True)  # type: ignore[operator]
    assert [tuple(one.shape) for one in got] == [tuple(other.shape) for other in want]
    return [
        ((one - other).abs().max() / other.abs().max()).item() for one, other in zip(got, want, strict=True)
    ]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in PAIRS]
)
def test_timm_gives_the_same_maps(name: str) -> None:
    theirs = randomized_timm(name)
    body = VoVNet(PAIRS[name], FrozenBatchNorm2d)
    body.load_state_dict(convert(theirs, var_shift=1e-5))  # a frozen norm has no eps
    assert max(largest_differences(body, theirs, (75, 96))) < 1e-4


def test_timm_gives_the_same_maps_with_batch_norm() -> None:
    theirs = randomized_timm("ese_vovnet39b")
    body = VoVNet(VOVNET_V2_SPECS["V2-39"], nn.BatchNorm2d)
    missing, unexpected = body.load_state_dict(convert(theirs, var_shift=0.0), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    assert max(largest_differences(body, theirs, (64, 64))) < 1e-4


@pytest.mark.parametrize(
    ("name", "spec", "first_wrong"),
    [
        ("vovnet39a", VOVNET_SPECS["V-39"], 2),
        ("ese_vovnet39b", replace(VOVNET_V2_SPECS["V2-39"], identity=False), 2),
    ],
)
def test_identity_shows_where_a_stage_has_two_modules(name: str, spec: VoVNetSpec, first_wrong: int) -> None:
    norm: NormFactory = FrozenBatchNorm2d
    theirs, body = randomized_timm(name), VoVNet(spec, norm)
    body.load_state_dict(convert(theirs, var_shift=1e-5))
    differences = largest_differences(body, theirs, (64, 64))
    assert max(differences[:first_wrong]) < 1e-4 and min(differences[first_wrong:]) > 1e-2
