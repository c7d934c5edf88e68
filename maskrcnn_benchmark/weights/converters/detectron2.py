"""vovnet-detectron2's V2 bodies and detectors.

Names as detectron2 builds them: backbone.bottom_up (the body, with this project's names), fpn_lateral2 and
fpn_output2, proposal_generator.rpn_head, roi_heads.box_head, box_predictor and mask_head. There the
background is the last class, and boxes and masks have no entry for it; here it is the first, with zeros.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX
from maskrcnn_benchmark.weights.architecture import recognize_body
from maskrcnn_benchmark.weights.converters.converted import BATCH_NORM_EPS, COUNTER, Converted, rename
from maskrcnn_benchmark.weights.fold import PixelStatistics

BOTTOM_UP = "backbone.bottom_up."
EARLIER_SQUEEZE = re.compile(re.escape(BODY_PREFIX) + r"stage(\d)\.OSA\1_(\d+)\.ese\.fc\.weight")
DROPPED = (
    "pixel_",
    "proposal_generator.anchor_generator.",
    "sem_seg_head.",  # of the panoptic models
    "classifier.",
    "linear.",
)
PATTERNS = (
    (re.compile(r"backbone\.bottom_up\.(.+)"), BODY_PREFIX),
    (re.compile(r"proposal_generator\.rpn_head\.conv\.(\w+)"), "rpn.head.conv."),
    (re.compile(r"proposal_generator\.rpn_head\.objectness_logits\.(\w+)"), "rpn.head.cls_logits."),
    (re.compile(r"proposal_generator\.rpn_head\.anchor_deltas\.(\w+)"), "rpn.head.bbox_pred."),
    (re.compile(r"roi_heads\.box_head\.fc1\.(\w+)"), "roi_heads.box.feature_extractor.fc6."),
    (re.compile(r"roi_heads\.box_head\.fc2\.(\w+)"), "roi_heads.box.feature_extractor.fc7."),
    (re.compile(r"roi_heads\.box_predictor\.((?:cls_score|bbox_pred)\.\w+)"), "roi_heads.box.predictor."),
    (re.compile(r"roi_heads\.mask_head\.(mask_fcn\d+\.\w+)"), "roi_heads.mask.feature_extractor."),
    (re.compile(r"roi_heads\.mask_head\.deconv\.(\w+)"), "roi_heads.mask.predictor.conv5_mask."),
    (re.compile(r"roi_heads\.mask_head\.predictor\.(\w+)"), "roi_heads.mask.predictor.mask_fcn_logits."),
)
FPN = re.compile(r"backbone\.fpn_(lateral|output)(\d)\.(norm\.)?(\w+)")
FPN_PARTS = {"lateral": "inner", "output": "layer"}

# detectron2's MODEL.PIXEL_MEAN and PIXEL_STD where the file does not hold them
DEFAULT_MEAN, DEFAULT_STD = (103.53, 116.28, 123.675), (1.0, 1.0, 1.0)
SQUEEZE_EVERY = ("MODEL.VOVNET.SQUEEZE_EVERY_MODULE", True)
ARITHMETIC = (
    "detectron2 measures boxes as x2 - x1, this project as x2 - x1 + 1, and shifts RoIAlign by half a pixel: "
    "the weights are a start for training, their published AP is not reached as they are"
)


def convert_detectron2(state: Mapping[str, Tensor]) -> Converted | None:
    """A body or a detector under detectron2's names; None for anything else.

    Its ImageNet files have the prefix, too; bare names of a V2 body are this project's.
    """
    if not any(name.startswith(BOTTOM_UP) for name in state):
        return None
    has_fpn_norm = any(FPN.fullmatch(name) and ".norm." in name for name in state)
    renamed, dropped = rename(state, lambda name: _new_name(name, has_fpn_norm))
    is_detector = any(not name.startswith(BODY_PREFIX) for name in renamed)
    body = recognize_body(renamed)
    kind = "detector" if is_detector else "body"
    return Converted(
        state={name: _background_first(name, value) for name, value in renamed.items()},
        source=f"detectron2 {kind} ({body or 'of a structure unknown here'})",
        body=body,
        is_detector=is_detector,
        batch_norm_eps=BATCH_NORM_EPS,
        pixels=_pixels(state),
        dropped=dropped,
        requires=(SQUEEZE_EVERY,) if _squeezes_every_module(renamed) else (),
        notes=(ARITHMETIC,) if is_detector else (),
    )


def _new_name(name: str, has_fpn_norm: bool) -> str | None:
    if name.startswith(DROPPED) or name.endswith(COUNTER):
        return None
    if fpn := FPN.fullmatch(name):
        level = int(fpn[2]) - 1
        child = "" if not has_fpn_norm else "1." if fpn[3] else "0."
        return f"backbone.fpn.fpn_{FPN_PARTS[fpn[1]]}{level}.{child}{fpn[4]}"
    for pattern, prefix in PATTERNS:
        if match := pattern.fullmatch(name):
            return prefix + match[1]
    return name


def _background_first(name: str, value: Tensor) -> Tensor:
    """Scores: the last row goes first. Boxes and masks: rows of zeros for the background go first."""
    if name.startswith("roi_heads.box.predictor.cls_score."):
        return value.roll(1, dims=0)
    rows = 0
    if name.startswith("roi_heads.box.predictor.bbox_pred."):
        rows = 4
    if name.startswith("roi_heads.mask.predictor.mask_fcn_logits."):
        rows = 1
    return torch.cat([value.new_zeros(rows, *value.shape[1:]), value]) if rows else value


def _pixels(state: Mapping[str, Tensor]) -> PixelStatistics:
    """As the file holds them, or detectron2's defaults."""
    mean, std = (
        tuple(float(channel) for channel in state[name].flatten()) if name in state else default
        for name, default in (("pixel_mean", DEFAULT_MEAN), ("pixel_std", DEFAULT_STD))
    )
    return PixelStatistics("bgr", (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))


def _squeezes_every_module(renamed: Mapping[str, Tensor]) -> bool:
    """Whether a module has squeeze-excitation that is not its stage's last."""
    found = {(int(m[1]), int(m[2])) for m in map(EARLIER_SQUEEZE.fullmatch, renamed) if m}
    return any((stage, number + 1) in found for stage, number in found)
