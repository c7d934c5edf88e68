"""Which body a file holds, told from the names and shapes of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Size, Tensor

BODY_PREFIX = "backbone.body."
Shapes = Mapping[str, Size]
VoVNetKey = tuple[tuple[int, ...], int, int]

# OSA modules of the stages 2..5, layers a module, channels of the last stage's output
VOVNETS: dict[VoVNetKey, str] = {
    ((1, 1, 1, 1), 5, 512): "V-27-slim",
    ((1, 1, 2, 2), 5, 1024): "V-39",
    ((1, 1, 4, 3), 5, 1024): "V-57",
    ((1, 1, 6, 3), 5, 1024): "V-69",
    ((1, 2, 6, 3), 5, 1024): "V-75",
    ((1, 3, 8, 3), 5, 1024): "V-93",
}
SQUEEZED_VOVNETS: dict[VoVNetKey, str] = {
    ((1, 1, 1, 1), 3, 512): "V2-19-slim",
    ((1, 1, 1, 1), 3, 1024): "V2-19",
    ((1, 1, 2, 2), 5, 1024): "V2-39",
    ((1, 1, 4, 3), 5, 1024): "V2-57",
    ((1, 3, 9, 3), 5, 1024): "V2-99",
}
# blocks of the four stages; of two convolutions, of three
BASIC_DEPTHS = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34}
BOTTLENECK_DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
VGG_DEPTHS = {8: 11, 10: 13, 13: 16, 16: 19}  # convolutions -> depth with the three full layers
MOBILENET_V3_LARGE_BLOCKS = 15


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
    key = (modules, layers, last[0])
    if not any(".ese." in name for name in shapes):
        return VOVNETS.get(key)
    name = SQUEEZED_VOVNETS.get(key)
    is_depthwise = any(part.endswith("/dw_conv3x3.weight") for part in shapes)
    return f"{name}-dw" if name and is_depthwise else name


def _recognize_resnet(shapes: Shapes) -> str | None:
    """A C4 body has the first three stages only."""
    middle = shapes.get("layer1.0.conv2.weight")
    if middle is None or len(middle) != 4 or 0 in middle:
        return None
    blocks = tuple(_count(shapes, rf"layer{stage}\.(\d+)\.") for stage in range(1, 5))
    depths = BOTTLENECK_DEPTHS if "layer1.0.conv3.weight" in shapes else BASIC_DEPTHS
    used = len(blocks) if blocks[-1] else len(blocks) - 1
    depth = next((depth for known, depth in depths.items() if known[:used] == blocks[:used]), None)
    groups, width = middle[0] // middle[1], middle[1]
    if depth is None:
        return None
    if groups > 1:
        return f"X-{depth}-{groups}x{width}d"
    return {64: f"R-{depth}", 128: f"W-{depth}-2"}.get(width)


def _recognize_mobilenet(shapes: Shapes) -> str | None:
    if shapes.get("features.1.conv.0.0.weight") == (32, 1, 3, 3):
        return "MobileNet-V2"
    if _count(shapes, r"features\.(\d+)\.block\.") == MOBILENET_V3_LARGE_BLOCKS:
        return "MobileNet-V3-large"
    return None


def _recognize_vgg(shapes: Shapes) -> str | None:
    if shapes.get("features.0.weight") != (64, 3, 3, 3):
        return None
    convolutions = sum(
        len(shape) == 4 and re.fullmatch(r"features\.\d+\.weight", name) is not None
        for name, shape in shapes.items()
    )
    depth = VGG_DEPTHS.get(convolutions)
    if depth is None:
        return None
    has_norms = len(shapes.get("features.1.weight", ())) == 1
    return f"VGG-{depth}-BN" if has_norms else f"VGG-{depth}"
