"""Proofs for sources that are not installed: a library's network whose weights go by their names.

Detectron's MSRA ResNet is torchvision's with the stride in the first 1x1 and norms stored as affine maps;
vovnet-detectron2's V2-39 is timm's with squeeze-excitation in every module.
"""

from __future__ import annotations

import json
from pathlib import Path

import timm
import torch
import torchvision
from timm.layers import EffectiveSEModule
from timm.models.vovnet import OsaBlock
from torch import Tensor, nn
from weights.converters.proof import (
    FAMILY_PIXELS,
    PREFIX,
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
from maskrcnn_benchmark.weights.fold import PixelStatistics

FACTS = json.loads((Path(__file__).parent / "data" / "caffe2_names.json").read_text(encoding="utf-8"))
PIXELS = PixelStatistics("bgr", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
EVERY = ("MODEL.VOVNET.SQUEEZE_EVERY_MODULE", True)


def as_blobs(model: nn.Module) -> dict[str, Tensor]:
    """torchvision's ResNet-50 as Detectron would have stored it: batch norms as affine maps."""
    state = model.state_dict()
    blobs = {}
    for name, blob in FACTS["body"].items():
        own = name.removeprefix(PREFIX).removeprefix("stem.")
        norm = own.rpartition(".")[0]
        value = state[own]
        if f"{norm}.running_var" in state:
            scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-5).sqrt()
            shift = state[f"{norm}.bias"] - scale * state[f"{norm}.running_mean"]
            value = scale if own.endswith("weight") else shift
        blobs[blob] = value
    return blobs


def test_maps_of_an_msra_resnet() -> None:
    """Stride in the first 1x1, blue, green, red minus the mean; the same four maps."""
    with torch.device("meta"):
        source = torchvision.models.resnet50()
    for stage in (source.layer2, source.layer3, source.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    randomize(source)
    converted = convert(as_blobs(source))
    assert converted is not None
    assert (converted.pixels, converted.batch_norm_eps) == (None, 0.0)
    body = build_body("R-50")
    load(body, converted)
    image = normalize(pixels_of_image(), FAMILY_PIXELS)
    with torch.no_grad():
        got = body(image)
    assert_same_maps(got, features_of(source, image, [f"layer{stage}" for stage in range(1, 5)]))


def test_maps_of_a_body() -> None:
    """The ImageNet files; squeeze-excitation in every module."""
    prefix = "backbone.bottom_up."
    with torch.device("meta"):
        source = timm.create_model("ese_vovnet39b")
        for block in source.modules():
            if isinstance(block, OsaBlock):
                block.attn = EffectiveSEModule(block.conv_concat.conv.out_channels)
    randomize(source)
    renamed = convert(source.state_dict())
    assert renamed is not None
    published = {prefix + name.removeprefix(PREFIX): tensor for name, tensor in renamed.state.items()}
    for name in (
        "stem.stem_1/conv.weight",
        "stage3.OSA3_1.layers.4.OSA3_1_4/norm.running_var",
        "stage4.OSA4_2.concat.OSA4_2_concat/conv.weight",
        "stage4.OSA4_1.ese.fc.bias",
    ):
        assert prefix + name in published
    converted = convert(published)
    assert converted is not None
    assert (converted.body, converted.is_detector, converted.requires) == ("V2-39", False, (EVERY,))
    assert converted.pixels == PIXELS
    body = build_body("V2-39", EVERY)
    load(body, converted)
    pad_with_colour(source, PIXELS, FAMILY_PIXELS)
    image = pixels_of_image()
    want = features_of(source, normalize(image, PIXELS), [f"stages.{stage}" for stage in range(4)])
    with torch.no_grad():
        got = body(normalize(image, FAMILY_PIXELS))
    assert_same_maps(got, want)
