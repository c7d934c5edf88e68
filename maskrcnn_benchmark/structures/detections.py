"""The padded batches that flow between the stages of the detector.

Every tensor has a fixed number of slots per image and a mask that says which are in use, so that no shape
depends on what is in the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList


class Proposals(NamedTuple):
    """Regions proposed by the RPN, by descending score within each image."""

    boxes: Tensor  # [N, P, 4] float32 xyxy
    scores: Tensor  # [N, P] float32 in [0, 1]
    valid: Tensor  # [N, P] bool

    def to_boxlists(self, image_sizes: Sequence[tuple[int, int]]) -> list[BoxList]:
        """One BoxList an image with the field objectness; `image_sizes` are (height, width)."""
        result = []
        for boxes, scores, valid, (height, width) in zip(*self, image_sizes, strict=True):
            boxlist = BoxList(boxes[valid], (width, height), mode="xyxy")
            boxlist.add_field("objectness", scores[valid])
            result.append(boxlist)
        return result


class SampledRois(NamedTuple):
    """Regions drawn for the losses of the heads: positives first, then negatives, then unused slots."""

    boxes: Tensor  # [N, R, 4] float32 xyxy
    labels: Tensor  # [N, R] int64: class, 0 background, -1 unused slot
    box_targets: Tensor  # [N, R, 4] float32 encoded against the matched ground truth
    matched_gt: Tensor  # [N, R] int64 slot of the matched ground truth, 0 where there is none


class Detections(NamedTuple):
    """Final detections, by descending score within each image."""

    boxes: Tensor  # [N, D, 4] float32 xyxy, in the frame of the network's input
    scores: Tensor  # [N, D] float32 in [0, 1]
    labels: Tensor  # [N, D] int64, 1 .. C-1
    valid: Tensor  # [N, D] bool
    mask_logits: Tensor | None = None  # [N, D, M, M] of each detection's own class

    def to_boxlists(self, image_sizes: Sequence[tuple[int, int]]) -> list[BoxList]:
        """One BoxList an image with scores, labels and, where there is a mask head, mask.

        `image_sizes` are (height, width). Field mask holds probabilities [n, 1, M, M]. Waits for the device,
        once: the slots in use come first.
        """
        result = []
        counts = self.valid.sum(dim=1).tolist()
        for i, ((height, width), count) in enumerate(zip(image_sizes, counts, strict=True)):
            boxlist = BoxList(self.boxes[i, :count], (width, height), mode="xyxy")
            boxlist.add_field("scores", self.scores[i, :count])
            boxlist.add_field("labels", self.labels[i, :count])
            if self.mask_logits is not None:
                boxlist.add_field("mask", self.mask_logits[i, :count].float().sigmoid().unsqueeze(1))
            result.append(boxlist)
        return result


def to_rois(boxes: Tensor, valid: Tensor) -> Tensor:
    """Regions [N * R, 5] of (image, x1, y1, x2, y2) from boxes [N, R, 4]; unused slots get image -1."""
    num_images, num_slots = valid.shape
    image = torch.arange(num_images, device=boxes.device, dtype=boxes.dtype).unsqueeze(1)
    image = torch.where(valid, image.expand(num_images, num_slots), -1.0)
    return torch.cat([image.unsqueeze(-1), boxes], dim=-1).flatten(0, 1)
