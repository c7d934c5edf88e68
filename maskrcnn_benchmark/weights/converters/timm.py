"""timm's VoVNets: `ese_vovnet*` (V2 here) and `vovnet39a`, `vovnet57a`.

Names as in timm's vovnet models: stem.0.conv, stages.0.blocks.0.conv_mid.0.conv, conv_concat, attn.fc.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from maskrcnn_benchmark.weights.architecture import recognize_body
from maskrcnn_benchmark.weights.converters.converted import (
    BATCH_NORM_EPS,
    COUNTER,
    IMAGENET_PIXELS,
    Converted,
    osa_concat,
    osa_layer,
    osa_module,
    osa_reduction,
    rename,
    stem_layer,
)
from maskrcnn_benchmark.weights.fold import PixelStatistics

MARK = "stages.0.blocks.0.conv_concat.conv.weight"
STEM = re.compile(r"stem\.(\d+)\.(.+)")
BLOCK = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.(?:conv_mid\.(\d+)|(conv_\w+)|attn)\.(.+)")
PARTS = {"conv": "conv", "conv_dw": "dw_conv3x3", "conv_pw": "pw_conv1x1", "bn": "norm"}
# timm's one published file of ese_vovnet57b (ra4_e3600_r256_in1k) takes pixels of -1..1
SYMMETRIC_PIXELS = PixelStatistics(order="rgb", mean=(127.5,) * 3, std=(127.5,) * 3)
# timm's vovnet39a and vovnet57a do not add a module's input to its output; the published VoVNet does
NO_IDENTITY = ("MODEL.VOVNET.IDENTITY", False)
SYMMETRIC = "pixels taken as (pixel - 127.5) / 127.5, as timm's ese_vovnet57b.ra4_e3600_r256_in1k has them"


def convert_timm(state: Mapping[str, Tensor]) -> Converted | None:
    """The body of a timm VoVNet; None for anything else."""
    if MARK not in state:
        return None
    separable = {name.removesuffix(".conv_dw.weight") for name in state if name.endswith(".conv_dw.weight")}
    renamed, dropped = rename(state, lambda name: _new_name(name, separable))
    body = recognize_body(renamed)
    return Converted(
        state=renamed,
        source=f"timm VoVNet classifier ({body or 'of a structure unknown here'})",
        body=body,
        is_detector=False,
        batch_norm_eps=BATCH_NORM_EPS,
        pixels=SYMMETRIC_PIXELS if body == "V2-57" else IMAGENET_PIXELS,
        dropped=dropped,
        requires=(NO_IDENTITY,) if body in ("V-39", "V-57") else (),
        notes=(SYMMETRIC,) if body == "V2-57" else (),
    )


def _new_name(name: str, separable: set[str]) -> str | None:
    """`separable`: the layers that are a depthwise and a pointwise convolution with one norm."""
    if name.startswith("head.") or name.endswith(COUNTER):
        return None
    if stem := STEM.fullmatch(name):
        number, rest = int(stem[1]), stem[2]
        return stem_layer(number + 1) + _part(rest, f"stem.{number}" in separable)
    if block := BLOCK.fullmatch(name):
        stage, module, rest = int(block[1]) + 2, int(block[2]) + 1, block[5]
        if block[3]:
            is_separable = name.removesuffix(f".{rest}") in separable
            return osa_layer(stage, module, int(block[3])) + _part(rest, is_separable)
        if block[4] == "conv_concat":
            return osa_concat(stage, module) + _part(rest)
        if block[4] == "conv_reduction":
            return osa_reduction(stage, module) + _part(rest)
        return f"{osa_module(stage, module)}.ese.{rest}"
    return name


def _part(rest: str, is_separable: bool = False) -> str:
    """conv.weight -> /conv.weight, bn.bias -> /norm.bias."""
    layer, _, entry = rest.partition(".")
    prefix = "pw_" if is_separable and layer == "bn" else ""
    return f"/{prefix}{PARTS.get(layer, layer)}.{entry}"
