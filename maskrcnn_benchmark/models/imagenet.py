"""Published ImageNet weights of bodies, by the one word "ImageNet"."""

from __future__ import annotations

import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.backbone.resnet import RESNET_SPECS
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from maskrcnn_benchmark.weights.load import Purpose
from maskrcnn_benchmark.weights.sources.catalogue import CATALOG, CatalogueEntry, entries

IMAGENET = "ImageNet"
# Published with the stride in the first 1x1 convolution; every other ResNet has it in the 3x3.
STRIDE_IN_1X1 = ("R-50", "R-101")


def imagenet_entry(body: str) -> CatalogueEntry | None:
    """The catalogue's file for a body ("V-39"): the first whose link is not known to be dead, else the first.

    None: nobody published one.
    """
    found = [
        entry
        for entry in entries()
        if entry.kind == "body" and entry.body == body and not entry.name.endswith("-GN")
    ]
    alive = [entry for entry in found if entry.link != "dead"]
    return next(iter(alive or found), None)


def imagenet_options(body: str) -> dict[str, object]:
    """The config keys that make a body the one that its ImageNet weights were trained in.

    Raises:
        ValueError: there are no such weights; lists the bodies that have some.
    """
    if imagenet_entry(body) is None:
        known = sorted({entry.body for entry in entries() if entry.kind == "body"})
        raise ValueError(
            f"no ImageNet weights of the body {body!r} were ever published; there are some of "
            f"{', '.join(known)}. weights=None starts from random numbers, and maskrcnn-benchmark pretrain "
            "trains a body on an image folder"
        )
    if body in RESNET_SPECS and body not in STRIDE_IN_1X1:
        return {"MODEL.RESNETS.STRIDE_IN_1X1": False}
    return {}


def load_imagenet(model: nn.Module, body: str, config: ConfigNode) -> None:
    """Takes the ImageNet weights of `body` for the body of a detector, downloading them if need be.

    Raises:
        ValueError: they cannot be fetched (with what to do by hand), or do not fit.
    """
    entry = imagenet_entry(body)
    assert entry is not None, "imagenet_options has refused it"
    Checkpointer(model, config=config.dump()).load(CATALOG + entry.name, Purpose.TRAINING)


class BackboneOfDetector(nn.Module):
    """A backbone where a detector has it, with what its input is, so that weights find their places."""

    def __init__(self, backbone: nn.Module, config: ConfigNode) -> None:
        super().__init__()
        self.backbone = backbone
        self.to_bgr255 = config.INPUT.TO_BGR255
        self.register_buffer("pixel_mean", torch.tensor(config.INPUT.PIXEL_MEAN), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.INPUT.PIXEL_STD), persistent=False)
