"""Detectors from Python, in one line.

    from maskrcnn_benchmark.models import faster_rcnn, mask_rcnn, backbones, list_backbones

    model = faster_rcnn(num_classes=21)                                          # 20 classes and background
    model = mask_rcnn(backbone="V-39-FPN", num_classes=21, weights="ImageNet")
    model = mask_rcnn(backbone=backbones.vgg16(pretrained=False), num_classes=3)

    detector = load_detector("output/mine/model_final.safetensors")
    (boxes,) = detector("street.jpg")

Shortcuts in the ecosystem's spelling exist for every backbone: `faster_rcnn_resnet50_fpn(num_classes=21)`,
`mask_rcnn_vovnet39_fpn(num_classes=21)`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN
from maskrcnn_benchmark.models import backbones
from maskrcnn_benchmark.models.builders import detector_config, faster_rcnn, mask_rcnn
from maskrcnn_benchmark.models.loaded_detector import load_detector
from maskrcnn_benchmark.models.names import list_backbones, python_names, unknown

__all__ = ["backbones", "detector_config", "faster_rcnn", "list_backbones", "load_detector", "mask_rcnn"]

BUILDERS = {"faster_rcnn_": faster_rcnn, "mask_rcnn_": mask_rcnn}


def __getattr__(name: str) -> Callable[..., GeneralizedRCNN]:
    for prefix, builder in BUILDERS.items():
        backbone = python_names().get(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if backbone is not None:
            return partial(builder, backbone=backbone)
    raise AttributeError(unknown(name, __dir__(), "maskrcnn_benchmark.models"))


def __dir__() -> list[str]:
    return [*__all__, *(prefix + name for prefix in BUILDERS for name in python_names())]
