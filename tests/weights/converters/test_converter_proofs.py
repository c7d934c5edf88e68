"""The proof of each converter: the source library's model and ours, converted, give the same maps.

Weights and batch-norm statistics are random, each network takes the image in its own convention, and the
source pads its first convolution with the colour that this project's zero padding stands for: the border's
colour is what folding cannot take up. Every map to 1e-4 of its scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
import torchvision
from pytorchcv.model_provider import get_model
from torch import nn
from weights.converters.proof import (
    FAMILY_PIXELS,
    assert_same_maps,
    build_body,
    features_of,
    load,
    normalize,
    pad_with_colour,
    pixels_of_image,
    randomize,
)

from maskrcnn_benchmark.weights.converters import convert
from maskrcnn_benchmark.weights.converters.converted import Converted
from maskrcnn_benchmark.weights.fold import PixelStatistics

IMAGENET = PixelStatistics("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
STAGES = ("layer1", "layer2", "layer3", "layer4")
TIMM_STAGES = ("stages.0", "stages.1", "stages.2", "stages.3")
STRIDE_IN_3X3 = ("MODEL.RESNETS.STRIDE_IN_1X1", False)


def prove(
    make: Callable[[], nn.Module],
    maps: Sequence[str],
    body_name: str,
    options: Sequence[Any] = (),
    change: Callable[[Converted], Converted] = lambda converted: converted,
) -> None:
    """make: the source's model. maps: its modules whose outputs are the body's. change: spoils the result."""
    with torch.device("meta"):
        source = make()
    randomize(source)
    converted = convert(source.state_dict())
    assert converted is not None
    assert converted.body == body_name
    assert not converted.is_detector
    body = build_body(body_name, options)
    load(body, change(converted))
    image = pixels_of_image()
    pad_with_colour(source, IMAGENET, FAMILY_PIXELS)
    want = features_of(source, normalize(image, IMAGENET), maps)
    with torch.no_grad():
        got = body(normalize(image, FAMILY_PIXELS))
    assert_same_maps(got, want)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("resnet18", "R-18"),
        ("resnet50", "R-50"),
        ("resnext50_32x4d", "X-50-32x4d"),
    ],
)
def test_torchvision_resnets(name: str, body: str) -> None:
    prove(lambda: torchvision.models.get_model(name), STAGES, body, STRIDE_IN_3X3)


def test_trainable_batch_norm() -> None:
    """The model's norms add an eps themselves, and then the variances do not hold it."""
    options = (*STRIDE_IN_3X3, "MODEL.BACKBONE.NORM", "BN")
    prove(torchvision.models.resnet18, STAGES, "R-18", options)


def test_another_eps_in_trainable_batch_norm() -> None:
    """MobileNetV3 adds 1e-3 to its variances, nn.BatchNorm2d here 1e-5."""
    maps = ("features.3", "features.6", "features.12", "features.16")
    prove(torchvision.models.mobilenet_v3_large, maps, "MobileNet-V3-large", ("MODEL.BACKBONE.NORM", "BN"))


@pytest.mark.parametrize(
    ("name", "body", "blocks"),
    [
        ("mobilenet_v2", "MobileNet-V2", (3, 6, 13, 18)),
        ("mobilenet_v3_large", "MobileNet-V3-large", (3, 6, 12, 16)),
        # the last layers before the third, fourth and fifth pooling, and the fifth pooling
        ("vgg11", "VGG-11", (9, 14, 19, 20)),
        ("vgg11_bn", "VGG-11-BN", (13, 20, 27, 28)),
    ],
)
def test_torchvision_sequences(name: str, body: str, blocks: tuple[int, ...]) -> None:
    maps = [f"features.{block}" for block in blocks]
    prove(lambda: torchvision.models.get_model(name), maps, body)


@pytest.mark.parametrize(
    ("name", "body"), [("ese_vovnet39b", "V2-39"), ("ese_vovnet19b_slim_dw", "V2-19-slim-dw")]
)
def test_timm_vovnets(name: str, body: str) -> None:
    prove(lambda: timm.create_model(name), TIMM_STAGES, body)


def test_timm_first_vovnet() -> None:
    """timm's does not add a module's input to its output, V-39 does; asked to, either is the other."""
    prove(lambda: timm.create_model("vovnet39a", residual=True), TIMM_STAGES, "V-39")
    prove(lambda: timm.create_model("vovnet39a"), TIMM_STAGES, "V-39", ("MODEL.VOVNET.IDENTITY", False))


def test_pytorchcv_vovnet() -> None:
    def without_pooling() -> nn.Module:
        source = get_model("vovnet39")
        source.features.final_pool = nn.AdaptiveAvgPool2d(1)  # its own wants 224 pixels a side
        return source

    prove(without_pooling, [f"features.stage{stage}" for stage in range(1, 5)], "V-39")


@pytest.mark.parametrize(
    "change",
    [
        lambda converted: replace(converted, batch_norm_eps=0.0),
        lambda converted: replace(converted, pixels=replace(IMAGENET, order="bgr")),
        lambda converted: replace(converted, pixels=replace(IMAGENET, mean=(123.675, 116.28, 100.0))),
        lambda converted: replace(converted, pixels=replace(IMAGENET, std=(58.395, 57.12, 57.12))),
    ],
)
def test_the_proof_sees_every_part(change: Callable[[Converted], Converted]) -> None:
    """Without the eps, with the channels the wrong way round, another mean, another std: other maps."""
    with pytest.raises(AssertionError, match="not close"):
        prove(torchvision.models.resnet18, STAGES, "R-18", STRIDE_IN_3X3, change)


def test_the_stride_matters() -> None:
    """What the converter requires of the config is needed."""
    with pytest.raises(AssertionError, match="not close"):
        prove(torchvision.models.resnet50, STAGES, "R-50", ("MODEL.RESNETS.STRIDE_IN_1X1", True))
