"""torchvision's ImageNet classifiers: ResNet, ResNeXt, wide ResNet, VGG, MobileNetV2 and V3-large.

Names as in torchvision's model files; timm's plain ResNets share them and its convention.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX
from maskrcnn_benchmark.weights.architecture import recognize_body
from maskrcnn_benchmark.weights.converters.converted import (
    BATCH_NORM_EPS,
    COUNTER,
    IMAGENET_PIXELS,
    Converted,
    rename,
)

MOBILENET_V3_EPS = 1e-3  # MobileNetV3 sets its batch norms' eps; the names do not tell it
# of ResNets, VGGs, MobileNets; three channels and the kernel
FIRST_CONVOLUTIONS = (
    ("conv1.weight", (3, 7, 7)),
    ("features.0.weight", (3, 3, 3)),
    ("features.0.0.weight", (3, 3, 3)),
)
# Without it, "features..." are the names of this project's own bodies.
CLASSIFIER = re.compile(r"fc\.|classifier\.\d+\.")
STRIDE = "MODEL.RESNETS.STRIDE_IN_1X1"


def convert_torchvision(state: Mapping[str, Tensor]) -> Converted | None:
    """The body of a torchvision classifier, recognised with its head; None for anything else."""
    is_classifier = any(CLASSIFIER.match(name) for name in state)
    if not is_classifier or not any(_has_shape(state, *first) for first in FIRST_CONVOLUTIONS):
        return None
    renamed, dropped = rename(state, _new_name)
    body = recognize_body(renamed)
    if body is None:
        return None
    has_bottlenecks = f"{BODY_PREFIX}layer1.0.conv3.weight" in renamed
    return Converted(
        state=renamed,
        source=f"torchvision classifier ({body})",
        body=body,
        is_detector=False,
        batch_norm_eps=MOBILENET_V3_EPS if body.startswith("MobileNet-V3") else BATCH_NORM_EPS,
        pixels=IMAGENET_PIXELS,
        dropped=dropped,
        requires=((STRIDE, False),) if has_bottlenecks else (),
    )


def _has_shape(state: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> bool:
    return name in state and state[name].shape[1:] == shape


def _new_name(name: str) -> str | None:
    if name.startswith(("fc.", "classifier.")) or name.endswith(COUNTER):
        return None
    if name.startswith(("conv1.", "bn1.")):
        return f"{BODY_PREFIX}stem.{name}"
    return f"{BODY_PREFIX}{name}"
