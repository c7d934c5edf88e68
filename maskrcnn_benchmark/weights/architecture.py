"""Which body a file holds, recognised by the names and shapes of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

import torch
from torch import Size, Tensor, nn

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX
from maskrcnn_benchmark.modeling.backbone.mobilenet import MOBILENET_SPECS, MobileNet
from maskrcnn_benchmark.modeling.backbone.resnet import RESNET_SPECS
from maskrcnn_benchmark.modeling.backbone.vgg import VGG_LAYERS
from maskrcnn_benchmark.modeling.backbone.vovnet import VOVNET_SPECS
from maskrcnn_benchmark.modeling.backbone.vovnet_v2 import VOVNET_V2_SPECS

Shapes = Mapping[str, Size]


def recognize_body(state: Mapping[str, Tensor]) -> str | None:
    """The name of the body ("V-57") in weights under this project's or the family's names; None if unknown.

    `state`: a detector's entries ("backbone.body.stem..."), a bare body's ("stem..."), either one also with
    the "module." of a DDP wrapper. What the rest of a detector is does not matter.
    """
    shapes = _body_shapes(state)
    for recognize in (_recognize_vovnet, _recognize_resnet, _recognize_mobilenet, _recognize_vgg):
        name = recognize(shapes)
        if name is not None:
            return name
    return None


def _body_shapes(state: Mapping[str, Tensor]) -> dict[str, Size]:
    shapes = {name.removeprefix("module."): tensor.shape for name, tensor in state.items()}
    of_body = {
        name.removeprefix(BODY_PREFIX): shape
        for name, shape in shapes.items()
        if name.startswith(BODY_PREFIX)
    }
    return of_body or shapes


def _count(shapes: Shapes, pattern: str) -> int:
    """How many different values the group of `pattern` takes at the start of the names."""
    found = (re.match(pattern, name) for name in shapes)
    return len({match[1] for match in found if match})


def _recognize_vovnet(shapes: Shapes) -> str | None:
    """From the OSA modules alone: the stem of some published files goes by other names."""
    modules = tuple(_count(shapes, rf"stage{stage}\.OSA{stage}_(\d+)\.") for stage in range(2, 6))
    layers = _count(shapes, r"stage2\.OSA2_1\.layers\.(\d+)\.")
    last = shapes.get("stage5.OSA5_1.concat.OSA5_1_concat/conv.weight")
    if last is None or len(last) != 4:
        return None
    found = (
        modules,
        layers,
        last[0],
        any(part.endswith("/dw_conv3x3.weight") for part in shapes),
        any(".ese." in part for part in shapes),
    )
    for name, spec in (VOVNET_SPECS | VOVNET_V2_SPECS).items():
        widest, squeezes = spec.concat_channels[-1], spec.squeeze != "never"
        if found == (spec.modules, spec.layers_per_module, widest, spec.depthwise, squeezes):
            return name
    return None


def _recognize_resnet(shapes: Shapes) -> str | None:
    """A C4 body has the first three stages only."""
    middle = shapes.get("layer1.0.conv2.weight")
    if middle is None or len(middle) != 4 or 0 in middle:
        return None
    blocks = tuple(_count(shapes, rf"layer{stage}\.(\d+)\.") for stage in range(1, 5))
    used = len(blocks) if blocks[-1] else len(blocks) - 1
    bottleneck, groups, width = "layer1.0.conv3.weight" in shapes, middle[0] // middle[1], middle[1]
    alike = {
        name: spec
        for name, spec in RESNET_SPECS.items()
        if spec.bottleneck == bottleneck and spec.blocks[:used] == blocks[:used]
    }
    for name, spec in alike.items():
        if (spec.num_groups, spec.width_per_group) == (groups, width):
            return name
    # the family spells a ResNeXt as a ResNet with groups, which may be any
    depth = next((name.split("-")[1] for name in alike), None)
    return f"X-{depth}-{groups}x{width}d" if depth and groups > 1 else None


def _recognize_mobilenet(shapes: Shapes) -> str | None:
    found = _convolutions(shapes)
    return next((name for name in MOBILENET_SPECS if found == _mobilenet_convolutions(name)), None)


@cache
def _mobilenet_convolutions(name: str) -> dict[str, Size]:
    with torch.device("meta"):  # names and shapes only
        body = MobileNet(MOBILENET_SPECS[name], nn.BatchNorm2d)
    return _convolutions({entry: tensor.shape for entry, tensor in body.state_dict().items()})


def _convolutions(shapes: Shapes) -> dict[str, Size]:
    return {name: shape for name, shape in shapes.items() if name.startswith("features.") and len(shape) == 4}


def _recognize_vgg(shapes: Shapes) -> str | None:
    """By the widths of the convolutions; the file may hold them in any order."""
    found = _convolutions(shapes)
    widths = sorted(found[name][0] for name in found if re.fullmatch(r"features\.\d+\.weight", name))
    has_norms = len(shapes.get("features.1.weight", ())) == 1
    for name, layers in VGG_LAYERS.items():
        if widths == sorted(width for width in layers if isinstance(width, int)):
            return f"{name}-BN" if has_norms else name
    return None
