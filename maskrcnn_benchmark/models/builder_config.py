"""The configuration behind the one-line builders: what a published config of that kind of backbone says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maskrcnn_benchmark.config import ConfigNode, load_config
from maskrcnn_benchmark.modeling.backbone.vovnet import VOVNET_SPECS
from maskrcnn_benchmark.models.names import check_backbone

COARSEST_POOLED = 32  # regions are pooled from maps up to this stride; coarser ones propose only
PYRAMID_SCALES = (8.0,)  # one anchor a level: 32 pixels at stride 4, 512 at stride 64 (FPN, section 4.1)
SINGLE_MAP_SCALES = (2.0, 4.0, 8.0, 16.0, 32.0)  # all at one map: 32 to 512 pixels at stride 16


@dataclass(frozen=True)
class DetectorOptions:
    """The arguments of `faster_rcnn` and `mask_rcnn`, checked.

    num_classes counts the background: the classes of the data plus one.
    """

    num_classes: int
    mask: bool
    anchor_scales: Sequence[float] | None
    ratios: Sequence[float]
    options: Mapping[str, object]

    def __post_init__(self) -> None:
        if type(self.num_classes) is not int or self.num_classes < 2:
            raise ValueError(
                f"num_classes = {self.num_classes!r}: a whole number of at least 2, which counts the classes "
                "of the data and one for the background"
            )
        for name, values in (("anchor_scales", self.anchor_scales), ("ratios", self.ratios)):
            if values is not None and not _are_positive(values):
                raise ValueError(f"{name} = {values!r}: a tuple of one or several numbers above zero")
        if not isinstance(self.options, Mapping):
            raise ValueError(
                f"options = {self.options!r}: a dictionary of config keys and values, such as "
                '{"MODEL.ROI_HEADS.SCORE_THRESH": 0.3}'
            )


def _are_positive(values: object) -> bool:
    """Whether they are a list or tuple of numbers above zero, and not an empty one."""
    if not isinstance(values, (list, tuple)) or not values:
        return False
    return all(isinstance(value, (int, float)) and 0 < value < math.inf for value in values)


def make_backbone_config(backbone: str, options: Mapping[str, object]) -> ConfigNode:
    """The configuration of a backbone alone; `options` are further config keys.

    Raises:
        ValueError: unknown backbone (with the nearest names), unknown key, value that does not fit.
    """
    return load_config(None, _as_list(_backbone_keys(backbone) | dict(options)))


def make_detector_config(
    backbone: str | None, strides: Sequence[int], detector: DetectorOptions
) -> ConfigNode:
    """The configuration of a detector over maps of these strides (pixels, finest first).

    backbone: a name; None where the module is given.
    """
    keys = {} if backbone is None else _backbone_keys(backbone)
    is_c4 = backbone is not None and backbone.endswith("-C4")
    keys |= _proposal_keys(strides, detector)
    if not is_c4:
        keys |= _head_keys([stride for stride in strides if stride <= COARSEST_POOLED] or strides[:1])
    keys |= {
        "MODEL.MASK_ON": detector.mask,
        "MODEL.ROI_BOX_HEAD.NUM_CLASSES": detector.num_classes,
        "DATALOADER.SIZE_DIVISIBILITY": 32 if len(strides) > 1 else 0,
    }
    return load_config(None, _as_list(keys | dict(detector.options)))


def _backbone_keys(backbone: str) -> dict[str, object]:
    """The keys of a backbone; every stage is trained, as without ImageNet weights it must be.

    Raises ValueError for an unknown one, with the nearest names.
    """
    check_backbone(backbone)
    keys: dict[str, object] = {
        "MODEL.BACKBONE.CONV_BODY": backbone,
        "MODEL.BACKBONE.FREEZE_CONV_BODY_AT": 0,
    }
    if backbone.endswith("-FPN"):
        keys["MODEL.FPN.OUT_CHANNELS"] = 256
    spec = VOVNET_SPECS.get(backbone.rpartition("-")[0])
    if spec is not None:
        keys["MODEL.VOVNET.OUT_CHANNELS"] = spec.concat_channels[0]
    return keys


def _proposal_keys(strides: Sequence[int], detector: DetectorOptions) -> dict[str, object]:
    """Anchors and the numbers of proposals: of a pyramid, or of a single map."""
    is_pyramid = len(strides) > 1
    scales = detector.anchor_scales or (PYRAMID_SCALES if is_pyramid else SINGLE_MAP_SCALES)
    keys: dict[str, object] = {
        "MODEL.RPN.ANCHOR_STRIDE": tuple(strides),
        "MODEL.RPN.ASPECT_RATIOS": tuple(float(ratio) for ratio in detector.ratios),
        "MODEL.RPN.USE_FPN": is_pyramid,
        "MODEL.ROI_HEADS.USE_FPN": is_pyramid,
    }
    if not is_pyramid:
        return keys | {"MODEL.RPN.ANCHOR_SIZES": _anchor_sizes(strides[0], scales)}
    sizes = [_anchor_sizes(stride, scales) for stride in strides]
    return keys | {
        "MODEL.RPN.ANCHOR_SIZES": tuple(size[0] if len(size) == 1 else size for size in sizes),
        "MODEL.RPN.PRE_NMS_TOP_N_TRAIN": 2000,
        "MODEL.RPN.PRE_NMS_TOP_N_TEST": 1000,
        "MODEL.RPN.FPN_POST_NMS_TOP_N_TEST": 1000,
    }


def _anchor_sizes(stride: int, scales: Sequence[float]) -> tuple[int, ...]:
    """Sides in whole pixels of the square anchors of a map."""
    return tuple(max(round(stride * scale), 1) for scale in scales)


def _head_keys(strides: Sequence[int]) -> dict[str, object]:
    """Two fully connected layers for boxes, four convolutions for masks, pooled from maps of `strides`."""
    scales = tuple(1 / stride for stride in strides)
    return {
        "MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR": "FPN2MLPFeatureExtractor",
        "MODEL.ROI_BOX_HEAD.PREDICTOR": "FPNPredictor",
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
        "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
        "MODEL.ROI_BOX_HEAD.POOLER_SCALES": scales,
        "MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR": "MaskRCNNFPNFeatureExtractor",
        "MODEL.ROI_MASK_HEAD.PREDICTOR": "MaskRCNNC4Predictor",
        "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
        "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": 2,
        "MODEL.ROI_MASK_HEAD.POOLER_SCALES": scales,
        "MODEL.ROI_MASK_HEAD.RESOLUTION": 28,
        "MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR": False,
    }


def _as_list(keys: Mapping[str, object]) -> list[Any]:
    return [item for pair in keys.items() for item in pair]
