"""Detectors of torchvision, detectron2 and mmdetection, recognised by names and shapes, and refused in words.

Some of their entries go by this project's names and would be taken, but compute something else here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX
from maskrcnn_benchmark.weights.architecture import recognize_body


@dataclass(frozen=True)
class Zoo:
    """A project whose detectors are not converted.

    marks: at least one of these begins a name in any of its detectors, and none in a file of this project's
    family. kinds: the kind of detector by the first mark that begins a name. scores: the layer that counts
    classes. body: what stands before the names of the body, and its parts as this project calls them.
    differs: what computes something else.
    """

    name: str
    marks: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...]
    scores: str
    body: tuple[str, Mapping[str, str]]
    differs: tuple[str, ...]


@dataclass(frozen=True)
class ForeignDetector:
    """A detector of another project: "torchvision's Mask R-CNN (R-50, 91 class scores)"."""

    name: str
    differs: tuple[str, ...]


BOXES = "boxes measured as x2 - x1 (here x2 - x1 + 1)"
EPS = "an eps in the frozen norms (here none)"
BACKGROUND_LAST = "the background as the last class, without boxes and masks of its own (here the first)"
STAGES = {f"res{stage}": f"layer{stage - 1}" for stage in range(2, 6)}

TORCHVISION = Zoo(
    name="torchvision",
    marks=(
        *("backbone.fpn.inner_blocks.", "backbone.fpn.layer_blocks.", "roi_heads.box_predictor."),
        *("head.classification_head.", "head.regression_head."),
    ),
    kinds=(
        ("head.regression_head.bbox_ctrness.", "FCOS"),
        ("head.classification_head.module_list.", "SSD"),
        ("head.classification_head.", "RetinaNet"),
        ("roi_heads.keypoint_", "Keypoint R-CNN"),
        ("roi_heads.mask_", "Mask R-CNN"),
        ("", "Faster R-CNN"),
    ),
    scores="roi_heads.box_predictor.cls_score.bias",
    body=(BODY_PREFIX, {}),
    differs=(
        "pixels in red, green, blue, 0..1, minus ImageNet's mean and divided by its deviation",
        "the stride in the 3x3 convolution of a bottleneck",
        EPS,
        BOXES,
        "anchors around the cell's corner (here around its centre)",
        "COCO's classes by category id, 91 with gaps (here 81 in a row)",
    ),
)
DETECTRON2 = Zoo(
    name="detectron2",
    marks=("proposal_generator.", "roi_heads.", "head.", "sem_seg_head."),
    kinds=(
        ("head.", "RetinaNet"),
        ("sem_seg_head.", "panoptic FPN"),
        ("roi_heads.keypoint_head.", "Keypoint R-CNN"),
        ("roi_heads.box_predictor.0.", "Cascade R-CNN"),
        ("roi_heads.mask_head.", "Mask R-CNN"),
        ("roi_heads.", "Faster R-CNN"),
        ("", "RPN"),
    ),
    scores="roi_heads.box_predictor.cls_score.bias",
    body=("backbone.", {"bottom_up.": "", **STAGES}),
    differs=(
        "RoIAlign shifted by half a pixel (aligned; here not)",
        BOXES,
        "pixels minus 103.53, 116.28, 123.675, divided by a deviation in the X-101 models",
        EPS,
        "the stride in the 3x3 convolution of the X-101 models",
        BACKGROUND_LAST,
    ),
)
MMDETECTION = Zoo(
    name="mmdetection",
    marks=("roi_head.", "rpn_head.", "bbox_head."),
    kinds=(
        ("bbox_head.retina_", "RetinaNet"),
        ("roi_head.bbox_head.0.", "Cascade R-CNN"),
        ("roi_head.mask_head.", "Mask R-CNN"),
        ("roi_head.", "Faster R-CNN"),
        ("bbox_head.", "one-stage detector"),
        ("", "RPN"),
    ),
    scores="roi_head.bbox_head.fc_cls.bias",
    body=("backbone.", {}),
    differs=(
        "RoIAlign shifted by half a pixel (aligned; here not)",
        BOXES,
        "pixels in red, green, blue, minus ImageNet's mean and divided by its deviation",
        "the stride in the 3x3 convolution of a bottleneck",
        EPS,
        BACKGROUND_LAST,
    ),
)
# Before version 2, whose boxes are measured as here.
MMDETECTION_1 = replace(
    MMDETECTION,
    name="mmdetection 1",
    marks=("bbox_head.fc_cls.", "bbox_head.0.fc_cls."),
    kinds=(("bbox_head.0.", "Cascade R-CNN"), ("mask_head.", "Mask R-CNN"), ("", "Faster R-CNN")),
    scores="bbox_head.fc_cls.bias",
    differs=MMDETECTION.differs[2:5],
)


def foreign_detector(state: Mapping[str, Tensor]) -> ForeignDetector | None:
    """The detector of another project that these names are of; None for anything else.

    None, too, for a body alone, and for vovnet-detectron2's detectors, which are converted.
    """
    zoo = _zoo_of(state)
    if zoo is None:
        return None
    kind = next(kind for mark, kind in zoo.kinds if any(name.startswith(mark) for name in state))
    body = _body_of(state, zoo)
    if zoo is DETECTRON2 and body is not None and body.startswith("V"):
        return None
    scores = state.get(zoo.scores)
    facts = [body or "", f"{len(scores)} class scores" if scores is not None and scores.dim() else ""]
    described = ", ".join(filter(None, facts))
    return ForeignDetector(
        f"{zoo.name}'s {kind}" + (f" ({described})" if described else ""), _differs(zoo, state)
    )


def refuse_foreign_detector(state: Mapping[str, Tensor], where: str) -> None:
    """Raises ValueError for a detector of another project, with what differs and what to do."""
    if found := foreign_detector(state):
        raise ValueError(
            f"{where}: this is {found.name}, which is not converted, nor taken in part "
            f"(MODEL.WEIGHT_PARTIAL): here its weights would compute something else. Other there: "
            f"{'; '.join(found.differs)}. Start from an ImageNet body instead (MODEL.WEIGHT catalog://...; "
            "tools/weights.py list shows them), or use the file with the project that it is of"
        )


def _zoo_of(state: Mapping[str, Tensor]) -> Zoo | None:
    names = tuple(state)
    # detectron2's box head has the same names; its proposals tell it
    has_heads = _any_starts(names, ("rpn.", "head.classification_head.", "head.regression_head."))
    if has_heads and _any_starts(names, TORCHVISION.marks):
        return TORCHVISION
    if _any_starts(names, (BODY_PREFIX,)) or not _any_starts(names, ("backbone.",)):
        return None
    if _any_starts(names, ("backbone.bottom_up.", "backbone.res2.", "backbone.res4.")):
        return DETECTRON2 if _any_starts(names, DETECTRON2.marks) else None
    if not _any_starts(names, MMDETECTION.marks):
        return None
    return MMDETECTION_1 if _any_starts(names, MMDETECTION_1.marks) else MMDETECTION


def _any_starts(names: tuple[str, ...], prefixes: tuple[str, ...]) -> bool:
    return any(name.startswith(prefixes) for name in names)


def _body_of(state: Mapping[str, Tensor], zoo: Zoo) -> str | None:
    prefix, parts = zoo.body
    found = {}
    for name, tensor in state.items():
        if name.startswith(prefix):
            inner = name.removeprefix(prefix)
            for theirs, ours in parts.items():
                inner = re.sub(rf"^{re.escape(theirs)}", ours, inner)
            found[BODY_PREFIX + inner] = tensor
    return recognize_body(found)


def _differs(zoo: Zoo, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Without what concerns regions where the detector has none."""
    has_regions = any(name.startswith(("roi_heads.", "roi_head.")) for name in state)
    return tuple(text for text in zoo.differs if has_regions or not text.startswith("RoIAlign"))
