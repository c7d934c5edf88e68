"""Detectron's caffe2 blobs: names as the reference implementation maps them.

data/caffe2_names.json holds reference facts: which entry of the reference's models takes which blob.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from golden.reference import config_of
from weights.converters.proof import (
    PREFIX,
    build_body,
    shapes,
)

from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.weights.converters import convert

FACTS = json.loads((Path(__file__).parent / "data" / "caffe2_names.json").read_text(encoding="utf-8"))
MARK = "res2_0_branch2a_w"
KEYPOINTS = ("kps_", "conv_fcn")  # no such heads here


def new_names(blob: str, beside: tuple[str, ...] = ()) -> list[str]:
    """What becomes of one blob; `beside`: others in the file."""
    tensors = {name: torch.empty(64, 64, 1, 1) for name in (MARK, *beside)}
    tensors[blob] = torch.empty(64, 3, 1, 1)
    converted = convert(tensors)
    assert converted is not None
    return [name for name, tensor in converted.state.items() if tensor is tensors[blob]]


def test_names_as_in_the_reference() -> None:
    """Every blob of its table; what has no place here or there is dropped by name, or keeps its name."""
    for blob, expected in FACTS["rename"].items():
        if "_gn" in blob and blob.startswith("fpn"):
            continue  # these the reference's own models do not find, see below
        found = new_names(blob)
        if blob.startswith(KEYPOINTS):
            assert found == [blob]
        elif expected is None or expected.startswith("fc1000"):
            assert found == []
        elif blob.endswith("_b") and expected.split(".")[-2] in ("conv1", "conv2", "conv3", "0"):
            assert found == [], "convolutions of a body have no bias"
        else:
            assert len(found) == 1 and found[0].endswith(expected), (blob, found)


def test_group_norm_beside_a_convolution() -> None:
    """Norm and convolution are children 1 and 0; the reference's table leaves these blobs unmatched."""
    norms = ("fpn_inner_res2_2_sum_lateral_gn_s", "fpn_res5_2_sum_gn_b", "_[mask]_fcn2_gn_s")
    expected = {
        "fpn_inner_res2_2_sum_lateral_w": "backbone.fpn.fpn_inner1.0.weight",
        "fpn_inner_res2_2_sum_lateral_gn_b": "backbone.fpn.fpn_inner1.1.bias",
        "fpn_inner_res5_2_sum_gn_s": "backbone.fpn.fpn_inner4.1.weight",
        "fpn_res5_2_sum_w": "backbone.fpn.fpn_layer4.0.weight",
        "_[mask]_fcn2_w": "roi_heads.mask.feature_extractor.mask_fcn2.0.weight",
        "_[mask]_fcn2_gn_b": "roi_heads.mask.feature_extractor.mask_fcn2.1.bias",
        "res3_0_branch1_gn_s": "backbone.body.layer2.0.downsample.1.weight",
        "conv1_gn_b": "backbone.body.stem.bn1.bias",
    }
    for blob, name in expected.items():
        assert new_names(blob, norms) == [name]
    model_names = set(detector_shapes("gn_baselines/e2e_mask_rcnn_R_50_FPN_1x_gn.yaml"))
    assert set(expected.values()) <= model_names


def detector_shapes(config: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes(build_detection_model(config_of(config)).state_dict())


@pytest.mark.parametrize("parts", [("body",), ("body", "detector")])
def test_every_entry_takes_its_blob(parts: tuple[str, ...]) -> None:
    """All of the body or of the detector is covered, but for the anchors, which are not weights."""
    model = detector_shapes(FACTS["config"])
    blob_of_entry = {name: blob for part in parts for name, blob in FACTS[part].items()}
    blobs = {blob: torch.empty(model[name]) for name, blob in blob_of_entry.items()}
    leftovers = {"pred_w", "fc1000_b", "conv1_b", "lr", "fc6_w_momentum", "res2_0_branch2a_w_momentum"}
    converted = convert(blobs | dict.fromkeys(leftovers, torch.empty(1)))
    assert converted is not None
    assert converted.body == "R-50"
    assert converted.is_detector == ("detector" in parts)
    assert set(converted.dropped) == leftovers
    assert converted.requires == (("MODEL.RESNETS.STRIDE_IN_1X1", True),)
    for name, blob in blob_of_entry.items():
        assert converted.state[name] is blobs[blob]
    statistics = {name for name in model if ".running_" in name}
    assert set(converted.state) == set(blob_of_entry) | statistics
    for name in statistics:
        expected = torch.zeros if name.endswith("mean") else torch.ones
        assert torch.equal(converted.state[name], expected(model[name]))
    if "detector" in parts:
        assert all("cell_anchors" in name for name in set(model) - set(converted.state))


def blob_of(name: str) -> str:
    """The blob of a ResNet's entry, from the naming scheme: layer1.0.conv2.weight -> res2_0_branch2b_w."""
    stage, block, part, *rest = name.split(".")
    entry = rest[-1]
    branch = "1" if part == "downsample" else "2" + " abc"[int(part[-1])]
    is_norm = part.startswith("bn") or rest[0] == "1"
    suffix = {"weight": "bn_s", "bias": "bn_b"}[entry] if is_norm else "w"
    return f"res{int(stage[-1]) + 1}_{block}_branch{branch}_{suffix}"


STEM_BLOBS = {
    "stem.conv1.weight": "conv1_w",
    "stem.bn1.weight": "res_conv1_bn_s",
    "stem.bn1.bias": "res_conv1_bn_b",
}


def blob_of_single_map(name: str) -> str:
    """The blob of an entry of a detector with a C4 body."""
    for prefix in (f"{PREFIX}layer", "roi_heads.box.feature_extractor.head.layer"):
        if name.startswith(prefix):
            return blob_of("layer" + name.removeprefix(prefix))
    stem = STEM_BLOBS.get(name.removeprefix(PREFIX))
    if stem:
        return stem
    home, _, entry = name.rpartition(".")
    known = {"rpn.head.conv": "conv_rpn", "rpn.head.cls_logits": "rpn_cls_logits"}
    known["rpn.head.bbox_pred"] = "rpn_bbox_pred"
    return f"{known.get(home, home.rpartition('.')[2])}_{entry[0]}"


def test_a_detector_on_one_map() -> None:
    """With a C4 body the fifth stage is the box head's, and the mask head lists it once more."""
    model = detector_shapes("e2e_mask_rcnn_R_50_C4_1x.yaml")
    blobs = {
        blob_of_single_map(name): torch.empty(shape)
        for name, shape in model.items()
        if ".running_" not in name and "cell_anchors" not in name and "mask.feature_extractor" not in name
    }
    converted = convert(blobs)
    assert converted is not None
    assert converted.is_detector and converted.body == "R-50"
    assert not converted.dropped
    assert shapes(converted.state) == {k: v for k, v in model.items() if "cell_anchors" not in k}
    box = "roi_heads.box.feature_extractor.head.layer4.1.conv2.weight"
    assert converted.state[box.replace("box", "mask")] is converted.state[box]


@pytest.mark.parametrize(
    ("body", "norm", "stride_in_1x1"),
    [("R-101", "FrozenBN", True), ("X-101-32x8d", "FrozenBN", False), ("R-101", "GN", False)],
)
def test_deeper_bodies(body: str, norm: str, stride_in_1x1: bool) -> None:
    state = build_body(body, ("MODEL.BACKBONE.NORM", norm)).state_dict()
    scheme = (
        (lambda blob: blob.replace("res_conv1", "conv1").replace("_bn_", "_gn_")) if norm == "GN" else str
    )
    blobs = {
        scheme(STEM_BLOBS.get(name) or blob_of(name)): tensor
        for name, tensor in state.items()
        if ".running_" not in name
    }
    assert scheme("res4_22_branch2c_bn_s") in blobs
    converted = convert(blobs)
    assert converted is not None
    assert converted.body == body
    assert converted.requires == (("MODEL.RESNETS.STRIDE_IN_1X1", stride_in_1x1),)
    assert shapes(converted.state) == {PREFIX + name: shape for name, shape in shapes(state).items()}
