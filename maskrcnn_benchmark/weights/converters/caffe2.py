"""Detectron's caffe2 blobs: MSRA R-50 and R-101, FAIR X-101, and Detectron's own detectors.

Blob names as in Detectron's model files: conv1_w, res_conv1_bn_s, res2_0_branch2a_w, conv_rpn_fpn2_w,
fpn_inner_res2_2_sum_lateral_w, _[mask]_fcn1_w. Batch norm is stored as the affine map that it comes to: times
_bn_s, plus _bn_b.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX
from maskrcnn_benchmark.weights.architecture import recognize_body
from maskrcnn_benchmark.weights.converters.converted import Converted, rename

MARK = "res2_0_branch2a_w"
STRIDE = "MODEL.RESNETS.STRIDE_IN_1X1"
C4_HEAD = "head.layer4."
ENTRY = {"w": "weight", "b": "bias", "s": "weight"}

STEM = re.compile(r"(?:res_)?conv1_(?:(bn|gn)_)?([wbs])")
BLOCK = re.compile(r"res(\d)_(\d+)_branch(1|2a|2b|2c)_(?:(bn|gn)_)?([wbs])")
FPN = re.compile(r"fpn_(inner_)?res(\d)_\d+_sum(?:_lateral)?_(?:(gn)_)?([wbs])")
RPN = re.compile(r"(conv_rpn|rpn_cls_logits|rpn_bbox_pred)(?:_fpn\d)?_([wb])")
BOX = re.compile(r"(fc6|fc7|cls_score|bbox_pred)_([wb])")
MASK = re.compile(r"_\[mask\]_(fcn\d+)_(?:(gn)_)?([wbs])")
MASK_PREDICTOR = re.compile(r"(conv5_mask|mask_fcn_logits)_([wb])")
# the classifier, and what training left behind
DROPPED = re.compile(r"(pred|fc1000)_[wb]|.*_momentum|lr|model_iter")


def convert_caffe2(state: Mapping[str, Tensor]) -> Converted | None:
    """A body or a detector under Detectron's blob names; None for anything else."""
    if MARK not in state:
        return None
    normed = {name.rpartition("_gn_")[0] for name in state if "_gn_" in name}
    is_c4 = "conv_rpn_w" in state
    renamed, dropped = rename(state, lambda name: _new_name(name, normed, is_c4))
    with_statistics = _with_statistics(renamed, state)
    is_detector = any(RPN.fullmatch(name) or BOX.fullmatch(name) for name in state)
    body = recognize_body(with_statistics)
    if is_c4 and "mask_fcn_logits_w" in state:
        # the mask head shares the box head's layer4 and lists it once more
        for name, value in list(with_statistics.items()):
            if C4_HEAD in name:
                with_statistics[name.replace(".box.", ".mask.")] = value
    return Converted(
        state=with_statistics,
        source=f"Detectron's caffe2 {'detector' if is_detector else 'ImageNet weights'} "
        f"({body or 'of a structure unknown here'})",
        body=body,
        is_detector=is_detector,
        batch_norm_eps=0.0,
        pixels=None,
        dropped=dropped,
        requires=((STRIDE, _strides_in_1x1(body, state)),) if body else (),
    )


def _strides_in_1x1(body: str, state: Mapping[str, Tensor]) -> bool:
    """MSRA's ResNets have the stride in the first 1x1 convolution; ResNeXt and group norm's in the 3x3."""
    return not body.startswith("X-") and not any("_gn_" in name for name in state)


def _new_name(name: str, normed: set[str], is_c4: bool) -> str | None:
    """`normed`: blobs of convolutions with group norm. `is_c4`: the fifth stage is the box head's."""
    if DROPPED.fullmatch(name):
        return None
    if match := STEM.fullmatch(name):
        return _conv_or_norm(f"{BODY_PREFIX}stem.", "conv1", "bn1", match[1], match[2])
    if match := BLOCK.fullmatch(name):
        stage, number, branch = int(match[1]) - 1, match[2], match[3]
        home = "roi_heads.box.feature_extractor.head." if is_c4 and stage == 4 else BODY_PREFIX
        index = " abc".find(branch[-1])
        conv, norm = ("downsample.0", "downsample.1") if branch == "1" else (f"conv{index}", f"bn{index}")
        return _conv_or_norm(f"{home}layer{stage}.{number}.", conv, norm, match[4], match[5])
    if match := FPN.fullmatch(name):
        part = f"backbone.fpn.fpn_{'inner' if match[1] else 'layer'}{int(match[2]) - 1}"
        return part + _child(name, normed, match[3]) + ENTRY[match[4]]
    if match := RPN.fullmatch(name):
        return f"rpn.head.{match[1].removeprefix('rpn_').replace('conv_rpn', 'conv')}.{ENTRY[match[2]]}"
    if match := BOX.fullmatch(name):
        part = "feature_extractor" if match[1].startswith("fc") else "predictor"
        return f"roi_heads.box.{part}.{match[1]}.{ENTRY[match[2]]}"
    if match := MASK.fullmatch(name):
        part = f"roi_heads.mask.feature_extractor.mask_{match[1]}"
        return part + _child(name, normed, match[2]) + ENTRY[match[3]]
    if match := MASK_PREDICTOR.fullmatch(name):
        return f"roi_heads.mask.predictor.{match[1]}.{ENTRY[match[2]]}"
    return name


def _conv_or_norm(prefix: str, conv: str, norm: str, kind: str | None, entry: str) -> str | None:
    """A body's convolutions have no bias, in Detectron as here; a stored one is not used."""
    if kind:
        return f"{prefix}{norm}.{ENTRY[entry]}"
    return f"{prefix}{conv}.weight" if entry == "w" else None


def _child(name: str, normed: set[str], kind: str | None) -> str:
    """Where a norm follows, convolution and norm are children 0 and 1."""
    if kind:
        return ".1."
    return ".0." if name.rpartition("_")[0] in normed else "."


def _with_statistics(renamed: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An affine map as a batch norm: mean 0 and variance 1 beside each `_bn_` weight."""
    affine = {id(tensor) for name, tensor in state.items() if name.endswith("_bn_s")}
    complete = dict(renamed)
    for name, tensor in renamed.items():
        if id(tensor) in affine:
            norm = name.removesuffix(".weight")
            complete[f"{norm}.running_mean"] = torch.zeros_like(tensor)
            complete[f"{norm}.running_var"] = torch.ones_like(tensor)
    return complete
