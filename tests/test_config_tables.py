"""The configs of the neighbours' tables: a file for every row, and in it what the row says."""

from __future__ import annotations

import pytest
from golden.reference import CONFIGS

from maskrcnn_benchmark.config import ConfigNode, load_config
from maskrcnn_benchmark.weights.sources.catalogue import weights_manifest

MMDET_BODIES = {
    "R_50_caffe": ("R-50-FPN", True),
    "R_50": ("R-50-FPN", False),
    "R_101_caffe": ("R-101-FPN", True),
    "R_101": ("R-101-FPN", False),
    "X_101_32x4d": ("X-101-32x4d-FPN", False),
    "X_101_64x4d": ("X-101-64x4d-FPN", False),
}
# row: body, loss of the box head, schedule, multi-scale
MMDET = {
    **{f"{body}_FPN_{x}x": (body, "l1", x, False) for body in MMDET_BODIES for x in (1, 2)},
    **{f"R_50_FPN_{loss}_1x": ("R_50", loss, 1, False) for loss in ("iou", "giou", "bounded_iou")},
    **{f"R_50_caffe_FPN_ms_{x}x": ("R_50_caffe", "l1", x, True) for x in (2, 3)},
}
LENGTHS = {1: (60000, 80000, 90000), 2: (120000, 160000, 180000), 3: (210000, 250000, 270000)}
SCALES = (640, 672, 704, 736, 768, 800)
VOVNET_V2 = {  # detectors of each backbone
    "V2-19-FPN": ("faster", "mask"),
    "V2-19-FPNLite": ("faster", "mask"),
    "V2-19-dw-FPNLite": ("faster",),
    "V2-19-slim-FPNLite": ("faster",),
    "V2-19-slim-dw-FPNLite": ("faster",),
    "V2-39-FPN": ("faster", "mask"),
    "V2-57-FPN": ("faster", "mask"),
    "V2-99-FPN": ("faster", "mask"),
}
V2_FILES = [(name, kind) for name, kinds in VOVNET_V2.items() for kind in kinds]


def schedule_of(cfg: ConfigNode) -> tuple[int, ...]:
    return (*cfg.SOLVER.STEPS, cfg.SOLVER.MAX_ITER)


def names_in(folder: str) -> set[str]:
    return {path.stem for path in (CONFIGS / folder).glob("*.yaml")}


def test_every_row_has_its_file_and_every_file_its_row() -> None:
    assert names_in("mmdet") == {f"faster_rcnn_{row}" for row in MMDET}
    assert names_in("vovnetv2") == {f"{kind}_rcnn_{name.replace('-', '_')}_3x" for name, kind in V2_FILES}
    wanted = {
        f"e2e_{kind}_rcnn_V_{depth}_FPN_2x" for kind in ("faster", "mask") for depth in (39, 57, 75, 93)
    }
    assert wanted <= names_in("vovnet")


@pytest.mark.parametrize("row", MMDET)
def test_mmdetections_rows(row: str) -> None:
    body, loss, times, multi_scale = MMDET[row]
    name, is_caffe = MMDET_BODIES[body]
    cfg = load_config(str(CONFIGS / "mmdet" / f"faster_rcnn_{row}.yaml"))
    assert name == cfg.MODEL.BACKBONE.CONV_BODY
    assert cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT == 2  # stem and first stage, in 2x as well
    assert schedule_of(cfg) == LENGTHS[times]
    assert (loss, "l1") == (cfg.MODEL.BOX_REG_LOSS, cfg.MODEL.RPN.BOX_REG_LOSS)
    assert (
        1 if loss == "l1" else 10,
        1,
    ) == (cfg.MODEL.BOX_REG_LOSS_WEIGHT, cfg.MODEL.RPN.BOX_REG_LOSS_WEIGHT)
    assert (SCALES if multi_scale else (800,)) == cfg.INPUT.MIN_SIZE_TRAIN
    assert cfg.MODEL.RESNETS.STRIDE_IN_1X1 == cfg.INPUT.TO_BGR255 == is_caffe
    if not is_caffe:  # torchvision's statistics, red first
        assert cfg.INPUT.PIXEL_MEAN == [0.485, 0.456, 0.406]
        assert cfg.INPUT.PIXEL_STD == [0.229, 0.224, 0.225]


@pytest.mark.parametrize(("name", "kind"), V2_FILES)
def test_vovnet_v2_rows(name: str, kind: str) -> None:
    cfg = load_config(str(CONFIGS / "vovnetv2" / f"{kind}_rcnn_{name.replace('-', '_')}_3x.yaml"))
    assert name == cfg.MODEL.BACKBONE.CONV_BODY
    assert (kind == "mask") == cfg.MODEL.MASK_ON
    assert schedule_of(cfg) == LENGTHS[3]
    assert cfg.INPUT.MIN_SIZE_TRAIN == SCALES


@pytest.mark.parametrize("folder", ["mmdet", "vovnet", "vovnetv2"])
def test_weights_are_catalogued_and_of_that_body(folder: str) -> None:
    """But for X-101-32x4d, which is at mmdetection's address, and published configs that name a file."""
    manifest = weights_manifest()
    for path in sorted((CONFIGS / folder).glob("*.yaml")):
        cfg = load_config(str(path))
        weight, body = cfg.MODEL.WEIGHT, cfg.MODEL.BACKBONE.CONV_BODY.rpartition("-")[0]
        if weight.startswith("catalog://"):
            assert manifest[weight.removeprefix("catalog://")].body == body, path
        else:
            is_known = any(weight in entry.urls for entry in manifest.values())
            assert is_known or body == "X-101-32x4d" or weight.startswith("checkpoints/") or not weight, path
            assert weight or path.stem.startswith("scratch"), path
