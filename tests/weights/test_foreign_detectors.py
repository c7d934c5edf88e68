"""Detectors of other projects: known by content, refused in words, also in part; never one's own.

torchvision's are built. detectron2's and mmdetection's are not installed: their names and shapes are made
from this project's detectors by the rules that their published files follow.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from golden.reference import config_of
from torch import Tensor, nn
from torchvision.models import detection
from weights.small_detector import CELLS, empty_detector, published_state, small_detector

from maskrcnn_benchmark.weights.checkpoint import Checkpointer, DetectronCheckpointer
from maskrcnn_benchmark.weights.convert_file import rewrite
from maskrcnn_benchmark.weights.foreign_detectors import foreign_detector
from maskrcnn_benchmark.weights.inspect_file import inspect
from maskrcnn_benchmark.weights.load import Purpose
from maskrcnn_benchmark.weights.sources.read import read_weights

FASTER, MASK = "e2e_faster_rcnn_R_50_FPN_1x.yaml", "e2e_mask_rcnn_R_50_FPN_1x.yaml"
C4, X101 = "e2e_mask_rcnn_R_50_C4_1x.yaml", "e2e_mask_rcnn_X_101_32x8d_FPN_1x.yaml"
Rules = list[tuple[str, str]]

DETECTRON2_BODY: Rules = [
    (r"backbone\.body\.", "backbone.bottom_up."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
    *((rf"\.layer{stage}\.", f".res{stage + 1}.") for stage in range(1, 5)),
]
DETECTRON2: Rules = [
    *DETECTRON2_BODY,
    *((rf"backbone\.fpn\.fpn_inner{level}\.", f"backbone.fpn_lateral{level + 1}.") for level in range(1, 5)),
    *((rf"backbone\.fpn\.fpn_layer{level}\.", f"backbone.fpn_output{level + 1}.") for level in range(1, 5)),
    (r"^rpn\.head\.conv\.", "proposal_generator.rpn_head.conv."),
    (r"^rpn\.head\.cls_logits\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"^rpn\.head\.bbox_pred\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"roi_heads\.box\.feature_extractor\.fc6", "roi_heads.box_head.fc1"),
    (r"roi_heads\.box\.feature_extractor\.fc7", "roi_heads.box_head.fc2"),
    (r"roi_heads\.box\.predictor", "roi_heads.box_predictor"),
    (r"roi_heads\.mask\.feature_extractor", "roi_heads.mask_head"),
    (r"roi_heads\.mask\.predictor\.conv5_mask", "roi_heads.mask_head.deconv"),
    (r"roi_heads\.mask\.predictor\.mask_fcn_logits", "roi_heads.mask_head.predictor"),
]
DETECTRON2_C4: Rules = [
    (r"roi_heads\.\w+\.feature_extractor\.head\.", "roi_heads."),
    *DETECTRON2,
    (r"backbone\.bottom_up\.", "backbone."),
]
MMDETECTION: Rules = [
    (r"backbone\.body\.(stem\.)?", "backbone."),
    *((rf"backbone\.fpn\.fpn_inner{n}\.", f"neck.lateral_convs.{n - 1}.conv.") for n in range(1, 5)),
    *((rf"backbone\.fpn\.fpn_layer{n}\.", f"neck.fpn_convs.{n - 1}.conv.") for n in range(1, 5)),
    (r"^rpn\.head\.conv\.", "rpn_head.rpn_conv."),
    (r"^rpn\.head\.cls_logits\.", "rpn_head.rpn_cls."),
    (r"^rpn\.head\.bbox_pred\.", "rpn_head.rpn_reg."),
    (r"roi_heads\.box\.feature_extractor\.fc6", "roi_head.bbox_head.shared_fcs.0"),
    (r"roi_heads\.box\.feature_extractor\.fc7", "roi_head.bbox_head.shared_fcs.1"),
    (r"roi_heads\.box\.predictor\.cls_score", "roi_head.bbox_head.fc_cls"),
    (r"roi_heads\.box\.predictor\.bbox_pred", "roi_head.bbox_head.fc_reg"),
    (r"roi_heads\.mask\.feature_extractor\.mask_fcn(\d)", r"roi_head.mask_head.convs.\1.conv"),
    (r"roi_heads\.mask\.predictor\.conv5_mask", "roi_head.mask_head.upsample"),
    (r"roi_heads\.mask\.predictor\.mask_fcn_logits", "roi_head.mask_head.conv_logits"),
]
MMDETECTION_1: Rules = [*MMDETECTION, (r"^roi_head\.", "")]
BOX_HEAD = r"(roi_heads\.box_head|roi_heads\.box_predictor|roi_head\.bbox_head)\."
CASCADE: Rules = [(BOX_HEAD, r"\1.0.")]


def renamed(config: str, rules: Rules) -> dict[str, Tensor]:
    state = {}
    for name, tensor in published_state(config).items():
        if CELLS not in name:
            for pattern, new in rules:
                name = re.sub(pattern, new, name)
            state[name] = tensor
    return state


def retinanet(body_rules: Rules, heads: list[str], neck: str) -> dict[str, Tensor]:
    """A body of R-50 under a head of names alone."""
    body = {k: v for k, v in renamed(FASTER, body_rules).items() if "backbone.b" in k or "backbone.l" in k}
    return body | {name: torch.zeros(3) for name in (*heads, neck)}


def built(name: str) -> Callable[[], dict[str, Tensor]]:
    def make() -> dict[str, Tensor]:
        with torch.device("meta"):
            state = getattr(detection, name)(weights=None, weights_backbone=None).state_dict()
        return {key: torch.tensor(0.5).expand(tensor.shape) for key, tensor in state.items()}

    return make


def older(make: Callable[[], dict[str, Tensor]]) -> Callable[[], dict[str, Tensor]]:
    """The names of torchvision's files before 0.14, which the published ones still have."""
    rules = [
        (r"(inner|layer)_blocks\.(\d)\.0\.", r"\1_blocks.\2."),
        (r"rpn\.head\.conv\.0\.0\.", "rpn.head.conv."),
        (r"mask_head\.(\d)\.0\.", r"mask_head.mask_fcn\1."),
    ]

    def rename(name: str) -> str:
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        return name

    return lambda: {rename(name): tensor for name, tensor in make().items()}


R50_91 = r"\(R-50, 91 class scores\)"
EVERY: dict[str, tuple[Callable[[], dict[str, Tensor]], str]] = {
    "faster": (built("fasterrcnn_resnet50_fpn"), f"torchvision's Faster R-CNN {R50_91}"),
    "faster v2": (built("fasterrcnn_resnet50_fpn_v2"), f"torchvision's Faster R-CNN {R50_91}"),
    "faster old": (older(built("fasterrcnn_resnet50_fpn")), f"torchvision's Faster R-CNN {R50_91}"),
    "mobile": (built("fasterrcnn_mobilenet_v3_large_fpn"), r"torchvision's Faster R-CNN \(91 class scores\)"),
    "mask": (built("maskrcnn_resnet50_fpn"), f"torchvision's Mask R-CNN {R50_91}"),
    "mask v2": (built("maskrcnn_resnet50_fpn_v2"), f"torchvision's Mask R-CNN {R50_91}"),
    "mask old": (older(built("maskrcnn_resnet50_fpn")), f"torchvision's Mask R-CNN {R50_91}"),
    "keypoint": (built("keypointrcnn_resnet50_fpn"), "torchvision's Keypoint R-CNN "),
    "retinanet": (built("retinanet_resnet50_fpn"), r"torchvision's RetinaNet \(R-50\)"),
    "fcos": (built("fcos_resnet50_fpn"), r"torchvision's FCOS \(R-50\)"),
    "ssd": (built("ssd300_vgg16"), "torchvision's SSD"),
    "d2 faster": (lambda: renamed(FASTER, DETECTRON2), r"detectron2's Faster R-CNN \(R-50, "),
    "d2 mask": (lambda: renamed(MASK, DETECTRON2), r"detectron2's Mask R-CNN \(R-50, "),
    "d2 X-101": (lambda: renamed(X101, DETECTRON2), r"detectron2's Mask R-CNN \(X-101-32x8d, "),
    "d2 C4": (lambda: renamed(C4, DETECTRON2_C4), r"detectron2's Mask R-CNN \(R-50, "),
    "d2 cascade": (lambda: renamed(MASK, [*DETECTRON2, *CASCADE]), r"detectron2's Cascade R-CNN \(R-50\)"),
    "d2 keypoint": (
        lambda: renamed(FASTER, DETECTRON2) | {"roi_heads.keypoint_head.conv_fcn1.weight": torch.zeros(1)},
        r"detectron2's Keypoint R-CNN \(R-50, ",
    ),
    "d2 retinanet": (
        lambda: retinanet(
            DETECTRON2_BODY,
            ["head.cls_score.weight", "head.bbox_subnet.0.weight"],
            "backbone.fpn_output3.bias",
        ),
        r"detectron2's RetinaNet \(R-50\)",
    ),
    "mm faster": (lambda: renamed(FASTER, MMDETECTION), r"mmdetection's Faster R-CNN \(R-50, "),
    "mm mask": (lambda: renamed(MASK, MMDETECTION), r"mmdetection's Mask R-CNN \(R-50, "),
    "mm cascade": (lambda: renamed(MASK, [*MMDETECTION, *CASCADE]), r"mmdetection's Cascade R-CNN \(R-50\)"),
    "mm 1": (lambda: renamed(FASTER, MMDETECTION_1), r"mmdetection 1's Faster R-CNN \(R-50, 81 "),
    "mm retinanet": (
        lambda: retinanet(MMDETECTION[:1], ["bbox_head.retina_cls.weight"], "neck.fpn_convs.0.conv.bias"),
        r"mmdetection's RetinaNet \(R-50\)",
    ),
}


@pytest.mark.parametrize("key", EVERY)
@pytest.mark.parametrize("prefix", ["", "module.", "model._orig_mod."])
def test_known_and_refused_for_every_purpose(tmp_path: Path, key: str, prefix: str) -> None:
    """By name, with what differs; a partial load is refused, too, and the model stays as it is."""
    make, words = EVERY[key]
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {prefix + name: tensor for name, tensor in make().items()}}, path)
    model = empty_detector(FASTER)
    checkpointer = DetectronCheckpointer(config_of(FASTER), model)
    for purpose, partial in ((Purpose.TRAINING, False), (Purpose.USE, False), (Purpose.TRAINING, True)):
        with pytest.raises(ValueError, match=rf"this is {words}") as caught:
            checkpointer.load(path, purpose, partial=partial)
    message = str(caught.value)
    assert "an eps in the frozen norms" in message
    assert "\n" not in message
    is_late = not words.startswith("mmdetection 1")
    assert ("x2 - x1 (here x2 - x1 + 1)" in message) == is_late
    has_regions = "R-CNN" in words and not words.startswith("torchvision")
    assert ("RoIAlign shifted" in message) == (has_regions and is_late)
    with pytest.raises(ValueError, match=rf"this is {words}"):
        rewrite(read_weights(path))
    shown = inspect(read_weights(path))
    assert re.match(words, shown.source)
    assert "family" not in str(shown)


def test_a_detectron2_pickle(tmp_path: Path) -> None:
    """model_final_*.pkl of its zoo: arrays, and who wrote them."""
    arrays = {name: tensor.numpy() for name, tensor in renamed(FASTER, DETECTRON2).items() if "bias" in name}
    small = renamed(FASTER, DETECTRON2)["backbone.bottom_up.stem.conv1.weight"].numpy()
    content = {"model": arrays | {"backbone.bottom_up.stem.conv1.weight": small}, "__author__": "Detectron2"}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match="this is detectron2's Faster R-CNN"):
        DetectronCheckpointer(config_of(FASTER), empty_detector(FASTER)).load(
            tmp_path / "w.pkl", Purpose.TRAINING, partial=True
        )


@pytest.mark.parametrize(
    "config",
    [
        FASTER,
        MASK,
        C4,
        X101,
        "vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml",
        "vovnet/e2e_faster_rcnn_V_57_FPN_2x.yaml",
    ],
)
def test_the_familys_own_are_not_foreign(config: str) -> None:
    assert foreign_detector(published_state(config)) is None
    body = {name: tensor for name, tensor in published_state(config).items() if "backbone.body" in name}
    assert foreign_detector(body) is None


def test_bodies_alone_are_not_foreign_detectors() -> None:
    """What an ImageNet file under their names is, the loader says as before."""
    for rules, prefix in ((DETECTRON2, "backbone.bottom_up."), (MMDETECTION, "backbone.")):
        body = {name: v for name, v in renamed(FASTER, rules).items() if name.startswith(prefix)}
        assert foreign_detector(body) is None


def test_vovnet_detectron2_is_converted_as_before() -> None:
    rules = [(r"backbone\.body\.", "backbone.bottom_up."), *DETECTRON2[len(DETECTRON2_BODY) :]]
    state = renamed("vovnet/e2e_faster_rcnn_V_39_FPN_2x.yaml", rules)
    assert any(name.startswith("proposal_generator.") for name in state)
    assert foreign_detector(state) is None


class Guest(nn.Module):
    """A user's detector that has another project's names."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"conv1": nn.Conv2d(3, 4, 1)})
        self.bbox_head = nn.Linear(2, 3)


def test_a_model_of_those_names_takes_them(tmp_path: Path) -> None:
    """A user's own detector, called so from the outside, loads its weights as before."""
    first, second = Guest(), Guest()
    assert foreign_detector(first.state_dict()) is not None
    torch.save(first.state_dict(), tmp_path / "w.pth")
    Checkpointer(second).load(tmp_path / "w.pth", Purpose.USE)
    assert torch.equal(first.bbox_head.weight, second.bbox_head.weight)


def test_own_checkpoints_are_not_looked_at(tmp_path: Path) -> None:
    model = small_detector()
    path = DetectronCheckpointer(config_of(FASTER), model, save_dir=tmp_path).save("model_final")
    assert DetectronCheckpointer(config_of(FASTER), model).load(path, Purpose.USE).kept == []
