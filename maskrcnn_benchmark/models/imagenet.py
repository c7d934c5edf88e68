"""ImageNet weights of bodies by the one word "ImageNet"."""

from __future__ import annotations

from torch import nn

IMAGENET = "ImageNet"


def imagenet_source(body: str) -> str | None:
    return None


def load_imagenet_weights(model: nn.Module, backbone: str) -> None:
    raise NotImplementedError


def load_imagenet_backbone(backbone: nn.Module, name: str) -> None:
    raise NotImplementedError
