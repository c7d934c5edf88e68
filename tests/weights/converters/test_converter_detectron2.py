"""vovnet-detectron2's names: a detector in full, and the value of every changed row.

detectron2 is not installed here; its names are written out below as its modules give them.
"""

from __future__ import annotations

import pytest
import torch
from golden.reference import config_of
from torch import Tensor, nn
from torch.nn import functional as F
from weights.converters.proof import (
    PREFIX,
    shapes,
)

from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.weights.converters import convert
from maskrcnn_benchmark.weights.fold import PixelStatistics

PIXELS = PixelStatistics("bgr", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
EVERY = ("MODEL.VOVNET.SQUEEZE_EVERY_MODULE", True)
# detectron2's module for each of ours outside the body
MODULES = {
    **{f"backbone.fpn.fpn_inner{level}": f"backbone.fpn_lateral{level + 1}" for level in range(1, 5)},
    **{f"backbone.fpn.fpn_layer{level}": f"backbone.fpn_output{level + 1}" for level in range(1, 5)},
    "rpn.head.conv": "proposal_generator.rpn_head.conv",
    "rpn.head.cls_logits": "proposal_generator.rpn_head.objectness_logits",
    "rpn.head.bbox_pred": "proposal_generator.rpn_head.anchor_deltas",
    "roi_heads.box.feature_extractor.fc6": "roi_heads.box_head.fc1",
    "roi_heads.box.feature_extractor.fc7": "roi_heads.box_head.fc2",
    "roi_heads.box.predictor.cls_score": "roi_heads.box_predictor.cls_score",
    "roi_heads.box.predictor.bbox_pred": "roi_heads.box_predictor.bbox_pred",
    **{
        f"roi_heads.mask.feature_extractor.mask_fcn{number}": f"roi_heads.mask_head.mask_fcn{number}"
        for number in range(1, 5)
    },
    "roi_heads.mask.predictor.conv5_mask": "roi_heads.mask_head.deconv",
    "roi_heads.mask.predictor.mask_fcn_logits": "roi_heads.mask_head.predictor",
}
# rows that detectron2 has not: of the background
BACKGROUND_ROWS = {"roi_heads.box_predictor.bbox_pred": 4, "roi_heads.mask_head.predictor": 1}


def detector_shapes(body: str, options: tuple = ()) -> dict[str, tuple[int, ...]]:
    """The entries of a Mask R-CNN here, without its anchors."""
    config = config_of("e2e_mask_rcnn_R_50_FPN_1x.yaml").clone()
    config.defrost()
    config.merge_from_list(["MODEL.BACKBONE.CONV_BODY", body, *options])
    with torch.device("meta"):
        state = shapes(build_detection_model(config).state_dict())
    return {name: shape for name, shape in state.items() if "cell_anchors" not in name}


def as_detectron2(ours: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A file of detectron2's with the entries of that detector, without values."""
    theirs = {}
    for name, shape in ours.items():
        module, _, entry = name.rpartition(".")
        if name.startswith(PREFIX):
            theirs[f"backbone.bottom_up.{name.removeprefix(PREFIX)}"] = torch.empty(shape, device="meta")
            continue
        module = MODULES[module]
        first = shape[0] - BACKGROUND_ROWS.get(module, 0)
        theirs[f"{module}.{entry}"] = torch.empty((first, *shape[1:]), device="meta")
    return theirs


@pytest.mark.parametrize("body", ["V2-19-slim-dw", "V2-39", "V2-99"])
def test_a_detector_in_full(body: str) -> None:
    ours = detector_shapes(f"{body}-FPN", EVERY)
    theirs = as_detectron2(ours)
    extra = {
        "proposal_generator.anchor_generator.cell_anchors.0": torch.empty(3, 4),
        "pixel_mean": torch.tensor(PIXELS.mean).view(3, 1, 1),
        "pixel_std": torch.tensor((57.375, 57.12, 58.395)).view(3, 1, 1),
    }
    converted = convert(theirs | extra)
    assert converted is not None
    assert converted.is_detector and converted.body == body
    assert shapes(converted.state) == ours
    assert set(converted.dropped) == set(extra)
    assert converted.requires == ((EVERY,) if body != "V2-19-slim-dw" else ())
    assert converted.batch_norm_eps == 1e-5
    assert any("x2 - x1 + 1" in note for note in converted.notes)
    assert converted.pixels is not None and converted.pixels.order == "bgr"
    assert converted.pixels.mean == pytest.approx(PIXELS.mean)
    assert converted.pixels.std == pytest.approx((57.375, 57.12, 58.395))


def test_narrow_pyramid() -> None:
    """FPNLite there is a pyramid of 128 channels."""
    ours = detector_shapes("V2-19-dw-FPN", ("MODEL.FPN.OUT_CHANNELS", 128))
    converted = convert(as_detectron2(ours))
    assert converted is not None
    assert shapes(converted.state) == ours


def test_pyramid_with_norms() -> None:
    state = {
        "backbone.bottom_up.stem.stem_1/conv.weight": torch.empty(64, 3, 3, 3),
        "backbone.fpn_lateral3.weight": torch.empty(256, 512, 1, 1),
        "backbone.fpn_lateral3.norm.weight": torch.empty(256),
    }
    converted = convert(state)
    assert converted is not None
    assert "backbone.fpn.fpn_inner2.0.weight" in converted.state
    assert "backbone.fpn.fpn_inner2.1.weight" in converted.state


def test_the_background_goes_first() -> None:
    """Scores of a region are the same up to their order; the background has no box and no mask."""
    generator = torch.Generator().manual_seed(0)
    classes, x = 5, torch.randn(2, 16, generator=generator)
    box, mask = "roi_heads.box_predictor.", "roi_heads.mask_head.predictor.weight"
    state = {
        "backbone.bottom_up.stem.stem_1/conv.weight": torch.empty(64, 3, 3, 3),
        f"{box}cls_score.weight": torch.randn(classes + 1, 16, generator=generator),
        f"{box}cls_score.bias": torch.randn(classes + 1, generator=generator),
        f"{box}bbox_pred.weight": torch.randn(4 * classes, 16, generator=generator),
        f"{box}bbox_pred.bias": torch.randn(4 * classes, generator=generator),
        mask: torch.randn(classes, 16, 1, 1, generator=generator),
    }
    converted = convert(state)
    assert converted is not None
    ours, predictor = converted.state, "roi_heads.box.predictor."
    theirs = F.linear(x, state[f"{box}cls_score.weight"], state[f"{box}cls_score.bias"])
    scores = F.linear(x, ours[f"{predictor}cls_score.weight"], ours[f"{predictor}cls_score.bias"])
    torch.testing.assert_close(scores[:, 1:], theirs[:, :classes])
    torch.testing.assert_close(scores[:, 0], theirs[:, classes])
    theirs = F.linear(x, state[f"{box}bbox_pred.weight"], state[f"{box}bbox_pred.bias"])
    deltas = F.linear(x, ours[f"{predictor}bbox_pred.weight"], ours[f"{predictor}bbox_pred.bias"])
    torch.testing.assert_close(deltas.view(2, -1, 4)[:, 1:], theirs.view(2, -1, 4))
    assert (deltas.view(2, -1, 4)[:, 0] == 0).all()
    masks = ours["roi_heads.mask.predictor.mask_fcn_logits.weight"]
    assert torch.equal(masks[1:], state[mask])
    assert (masks[0] == 0).all()


def test_depthwise_names() -> None:
    """Separable layers are called as there: dw_conv3x3, pw_conv1x1, pw_norm, reduction."""
    names = set(as_detectron2(detector_shapes("V2-19-dw-FPN")))
    for name in (
        "stem.stem_1/norm.weight",
        "stem.stem_2/dw_conv3x3.weight",
        "stem.stem_3/pw_norm.running_mean",
        "stage2.OSA2_1.conv_reduction.OSA2_1_reduction_0/conv.weight",
        "stage5.OSA5_1.layers.2.OSA5_1_2/pw_conv1x1.weight",
    ):
        assert f"backbone.bottom_up.{name}" in names


def test_unknown_bodies() -> None:
    """Another body of detectron2's: no name, and its entries stay for the loader to list."""
    state = {"backbone.bottom_up.res2.0.conv1.weight": nn.Conv2d(64, 64, 1).weight.data}
    converted = convert(state)
    assert converted is not None
    assert converted.body is None
    assert list(converted.state) == ["backbone.body.res2.0.conv1.weight"]
