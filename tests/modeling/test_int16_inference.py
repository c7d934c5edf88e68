"""A whole backbone in products of 16-bit integers is nearer to float64 than in bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.engine.precision import Precision, running_in
from maskrcnn_benchmark.layers.conv_norm import Conv2d
from maskrcnn_benchmark.layers.cpu_inference.implicit_gemm import ImplicitGemm
from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS
from maskrcnn_benchmark.layers.cpu_inference.winograd import Winograd
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model

pytestmark = pytest.mark.skipif(not HAS_INT16_PRODUCTS, reason="needs AVX-512 VNNI")

INTEGERS = Precision(int16=True)
IN_INTEGERS = (Winograd(int16=True), ImplicitGemm(int16=True))


def make(config: str) -> GeneralizedRCNN:
    """A detector whose residual branches are small, as trained ones are."""
    torch.manual_seed(0)
    model = build_detection_model(load_config(f"configs/{config}")).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("bn3.weight"):
            buffer.fill_(0.2)
    return model


def error(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """The largest of the levels' errors, relative to their spread."""
    pairs = zip(got, want, strict=True)
    return max(((ours.double() - exact).std() / exact.std()).item() for ours, exact in pairs)


@pytest.mark.parametrize(
    "config",
    ["vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml", "e2e_mask_rcnn_R_50_FPN_1x.yaml"],
)
@torch.no_grad()
def test_features_are_nearer_than_in_bfloat16(config: str) -> None:
    model = make(config)
    x = torch.randn(1, 3, 96, 160).mul(60).to(memory_format=torch.channels_last)
    exact = copy.deepcopy(model.backbone).double()(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        half = error(model.backbone(x), exact)
    with running_in(model, INTEGERS, torch.device("cpu")):
        ours = error(model.backbone(x), exact)
    assert 1e-4 < ours < 0.25 * half


@torch.no_grad()
def test_the_detector_takes_it_wherever_its_channels_fit() -> None:
    model = make("vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml")
    image = torch.randint(0, 255, (3, 128, 160), dtype=torch.uint8)
    with running_in(model, INTEGERS, torch.device("cpu")):
        (found,) = model([image])
    assert len(found) > 0 and found.get_field("mask").isfinite().all()
    prepared = {
        name: layer.prepared
        for name, layer in model.named_modules()
        if isinstance(layer, (Conv2d, nn.Linear, nn.ConvTranspose2d)) and hasattr(layer, "prepared")
    }
    left = {name for name, made in prepared.items() if made is None or made.form.method not in IN_INTEGERS}
    assert left == {"backbone.body.stem.stem_1/conv"}  # three input channels
