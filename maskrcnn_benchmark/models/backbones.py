"""Every backbone by its Python name: `backbones.vovnet39_fpn()`, `backbones.vgg16(pretrained=True)`.

The names are those of `dir(backbones)`; each makes what a config builds under the name that
`list_backbones()` gives. A backbone has `out_channels`, `strides` (pixels, one a map) and `body`, and gives
a tuple of maps, finest first; pass it to `faster_rcnn` or `mask_rcnn`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.models.builder_config import make_backbone_config
from maskrcnn_benchmark.models.imagenet import BackboneOfDetector, imagenet_options, load_imagenet
from maskrcnn_benchmark.models.names import body_and_neck, python_names, unknown


def named_backbone(
    name: str, pretrained: bool = False, options: Mapping[str, object] | None = None
) -> nn.Module:
    """The backbone of a config name, such as "V-39-FPN".

    pretrained: with published ImageNet weights of the body, downloaded where they are not yet there.
    options: further config keys and values, such as {"MODEL.BACKBONE.NORM": "SyncBN"}.

    Raises:
        ValueError: unknown name or option, or no published weights for this body.
    """
    body, _ = body_and_neck(name)
    given = options or {}
    config = make_backbone_config(name, imagenet_options(body) | dict(given) if pretrained else given)
    backbone = build_backbone(config)
    if pretrained:
        load_imagenet(BackboneOfDetector(backbone, config), body, config)
    return backbone


def __getattr__(name: str) -> Callable[..., nn.Module]:
    known = python_names()
    if name not in known:
        raise AttributeError(unknown(name, list(known), "maskrcnn_benchmark.models.backbones"))
    return partial(named_backbone, known[name])


def __dir__() -> list[str]:
    return ["named_backbone", *python_names()]
