"""pytorchcv's VoVNets: `vovnet27s`, `vovnet39`, `vovnet57`.

Names as in pytorchcv's models: features.init_block.conv1.conv, features.stage1.unit1.branches.branch1.conv,
features.stage1.unit1.concat_conv.conv, output.
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
    rename,
    stem_layer,
)

MARK = "features.stage1.unit1.concat_conv.conv.weight"
STEM = re.compile(r"features\.init_block\.conv(\d+)\.(conv|bn)\.(\w+)")
UNIT = re.compile(r"features\.stage(\d+)\.unit(\d+)\.(?:branches\.branch(\d+)|concat_conv)\.(conv|bn)\.(\w+)")
PARTS = {"conv": "conv", "bn": "norm"}


def convert_pytorchcv(state: Mapping[str, Tensor]) -> Converted | None:
    """The body of a pytorchcv VoVNet; None for anything else."""
    if MARK not in state:
        return None
    renamed, dropped = rename(state, _new_name)
    body = recognize_body(renamed)
    return Converted(
        state=renamed,
        source=f"pytorchcv VoVNet classifier ({body or 'of a structure unknown here'})",
        body=body,
        is_detector=False,
        batch_norm_eps=BATCH_NORM_EPS,
        pixels=IMAGENET_PIXELS,
        dropped=dropped,
    )


def _new_name(name: str) -> str | None:
    if name.startswith("output.") or name.endswith(COUNTER):
        return None
    if stem := STEM.fullmatch(name):
        return f"{stem_layer(int(stem[1]))}/{PARTS[stem[2]]}.{stem[3]}"
    if unit := UNIT.fullmatch(name):
        stage, module = int(unit[1]) + 1, int(unit[2])
        layer = osa_layer(stage, module, int(unit[3]) - 1) if unit[3] else osa_concat(stage, module)
        return f"{layer}/{PARTS[unit[4]]}.{unit[5]}"
    return name
