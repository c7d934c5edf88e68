"""Faster R-CNN and Mask R-CNN by one call.

They build what a config builds, by the same code: the arguments become a configuration
(`models.builder_config`), and `build_detection_model` does the rest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model
from maskrcnn_benchmark.models.builder_config import (
    DetectorOptions,
    make_backbone_config,
    make_detector_config,
)
from maskrcnn_benchmark.models.imagenet import IMAGENET, imagenet_options, load_imagenet
from maskrcnn_benchmark.models.names import body_and_neck
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from maskrcnn_benchmark.weights.load import Purpose

DEFAULT_BACKBONE = "R-50-FPN"
DEFAULT_RATIOS = (0.5, 1.0, 2.0)


def faster_rcnn(
    num_classes: int = 81,
    backbone: str | nn.Module = DEFAULT_BACKBONE,
    weights: str | os.PathLike[str] | None = None,
    *,
    anchor_scales: Sequence[float] | None = None,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    options: Mapping[str, object] | None = None,
    plain_dicts: bool = False,
) -> GeneralizedRCNN:
    """A Faster R-CNN (Ren et al. 2015), with a feature pyramid (Lin et al. 2017) where the backbone has one.

    `model(images, targets)` in training gives the losses by name, `model.eval()(images)` the detections; the
    forms of both stand at `GeneralizedRCNN.forward`.

    Args:
        num_classes: the classes of the data plus one for the background, so 21 for the 20 of PASCAL VOC.
        backbone: a name that `list_backbones()` gives, such as "V-39-FPN" or "R-50-C4", or a module with
            `out_channels` (int) and `strides` (pixels, one a map) that gives a tuple of maps, finest first.
        weights: None starts from random numbers, for which {"MODEL.BACKBONE.NORM": "BN"} or "GN" among the
            options is better than the frozen batch norm that published weights want; "ImageNet" takes
            published ImageNet weights of the body; anything else is what MODEL.WEIGHT takes: a path,
            catalog://, https:// or hf:// name. Training starts from them: a body alone is enough, and a
            detector of other classes gives everything but its class-dependent layers. To use a trained
            detector take `load_detector`, which accepts nothing less.
        anchor_scales: sides of the square anchors in strides of their map; by default 8 in a pyramid (32 to
            512 pixels over five levels), and 2, 4, 8, 16, 32 on a single map.
        ratios: height over width of the anchors.
        options: further config keys and their values, such as {"MODEL.ROI_HEADS.SCORE_THRESH": 0.3} or
            {"MODEL.BACKBONE.FREEZE_CONV_BODY_AT": 2} (by default every stage is trained).
        plain_dicts: detections come as dictionaries of boxes, labels, scores (structures.plain_dicts).

    Returns:
        The model, on the CPU, in training mode.

    Raises:
        ValueError: whatever does not fit: an unknown backbone (with the nearest names), a number of classes
            below 2, an unknown option, weights of another architecture.
    """
    checked = DetectorOptions(num_classes, False, anchor_scales, ratios, options or {})
    return _build(backbone, weights, checked, plain_dicts)


def mask_rcnn(
    num_classes: int = 81,
    backbone: str | nn.Module = DEFAULT_BACKBONE,
    weights: str | os.PathLike[str] | None = None,
    *,
    anchor_scales: Sequence[float] | None = None,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    options: Mapping[str, object] | None = None,
    plain_dicts: bool = False,
) -> GeneralizedRCNN:
    """A Mask R-CNN (He et al. 2017): a `faster_rcnn` with a mask head; the arguments are the same.

    Targets then carry masks: a BoxList the field "masks" (SegmentationMask), a dictionary binary "masks"
    [G, H, W] or polygons. `num_classes` counts the background.

    Raises:
        ValueError: as `faster_rcnn`.
    """
    checked = DetectorOptions(num_classes, True, anchor_scales, ratios, options or {})
    return _build(backbone, weights, checked, plain_dicts)


def detector_config(
    backbone: str = DEFAULT_BACKBONE,
    num_classes: int = 81,
    mask: bool = False,
    anchor_scales: Sequence[float] | None = None,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    options: Mapping[str, object] | None = None,
) -> ConfigNode:
    """The configuration of the model that the builders make of these arguments.

    `print(detector_config("V-39-FPN", 21).dump())` is the start of a config file for training.
    """
    checked = DetectorOptions(num_classes, mask, anchor_scales, ratios, options or {})
    with torch.device("meta"):  # names and strides only
        strides = strides_of(build_backbone(make_backbone_config(backbone, checked.options)))
    return make_detector_config(backbone, strides, checked)


def strides_of(backbone: nn.Module) -> tuple[int, ...]:
    """The strides of a backbone's maps.

    Raises:
        ValueError: the module does not say what a detector needs to know of it.
    """
    for name, example in (("out_channels", "256"), ("strides", "(4, 8, 16, 32)")):
        if not hasattr(backbone, name):
            raise ValueError(
                f"backbone {type(backbone).__name__} has no attribute {name!r} (such as {example}): "
                "a backbone says the channels and the strides of the maps it gives, finest first"
            )
    strides = backbone.strides
    return tuple(int(stride) for stride in strides)  # type: ignore[union-attr]


def _build(
    backbone: str | nn.Module,
    weights: str | os.PathLike[str] | None,
    detector: DetectorOptions,
    plain_dicts: bool,
) -> GeneralizedRCNN:
    name, body = None, ""
    if weights is not None and not isinstance(weights, (str, os.PathLike)):
        raise ValueError(f"weights = {weights!r}: None, 'ImageNet', or a path or address of a file")
    if isinstance(backbone, str):
        name, (body, _) = backbone, body_and_neck(backbone)
        if weights == IMAGENET:
            detector = replace(detector, options=imagenet_options(body) | dict(detector.options))
        backbone = build_backbone(make_backbone_config(name, detector.options))
    elif weights == IMAGENET:
        raise ValueError(
            'weights = "ImageNet" needs a backbone by name; backbones.x(pretrained=True) has them'
        )
    config = make_detector_config(name, strides_of(backbone), detector)
    model = build_detection_model(config, backbone)
    assert isinstance(model, GeneralizedRCNN)
    model.plain_dicts = plain_dicts
    if weights == IMAGENET:
        load_imagenet(model, body, config)
    elif weights is not None:
        Checkpointer(model, config=config.dump()).load(weights, Purpose.TRAINING)
    return model
