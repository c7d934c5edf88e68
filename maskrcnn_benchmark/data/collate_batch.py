"""From samples to a batch."""

from __future__ import annotations

from collections.abc import Sequence

from maskrcnn_benchmark.data.datasets.detection_dataset import Sample
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list


class BatchCollator:
    """Pads the images of a batch to one size, a multiple of ``size_divisible`` where that is positive."""

    def __init__(self, size_divisible: int = 0) -> None:
        self.size_divisible = size_divisible

    def __call__(self, samples: Sequence[Sample]) -> tuple[ImageList, list[BoxList], tuple[int, ...]]:
        """Images [N, 3, H, W] uint8 channels_last, the targets, and the indices in the dataset."""
        images, targets, indices = zip(*samples, strict=True)
        return to_image_list(images, self.size_divisible), list(targets), indices
