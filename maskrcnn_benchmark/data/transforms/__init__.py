"""Changes of images and targets before they become a batch."""

from maskrcnn_benchmark.data.transforms.build import build_transforms
from maskrcnn_benchmark.data.transforms.registry import TRANSFORMS
from maskrcnn_benchmark.data.transforms.transforms import ColorJitter, Compose, RandomFlip, Resize, Transform

__all__ = ["TRANSFORMS", "ColorJitter", "Compose", "RandomFlip", "Resize", "Transform", "build_transforms"]
