"""The padded batches that flow between the stages of the detector.

Every tensor has a fixed number of slots per image and a mask that says which are in use, so that no shape
depends on what is in the images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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
    matched_gt: Tensor  # [N, R] int64 slot of the matched ground truth, 0 where there is none
    num_positive_slots: int  # the positives of an image stand in its first so many slots
    fields: dict[str, Tensor]  # [N, R, ...] by name: what a head leaves for later ones

    def with_field(self, name: str, values: Tensor) -> SampledRois:
        """With `values` [N, R, ...] as the field `name`; ValueError for another number of slots."""
        return self._replace(fields=_with_field(self.fields, name, values, self.labels))

    def positives(self) -> SampledRois:
        """The slots of each image that can hold positives, those whose label is above 0."""
        stop = self.num_positive_slots
        boxes, labels, matched_gt = (values[:, :stop] for values in self[:3])
        fields = {name: values[:, :stop] for name, values in self.fields.items()}
        return SampledRois(boxes, labels, matched_gt, stop, fields)


class Detections(NamedTuple):
    """Detections by descending score within each image; slots in use come first."""

    boxes: Tensor  # [N, D, 4] float32 xyxy, in the frame of the network's input
    scores: Tensor  # [N, D] float32 in [0, 1]
    labels: Tensor  # [N, D] int64, 1 .. C-1
    valid: Tensor  # [N, D] bool
    fields: dict[str, Tensor]  # [N, D, ...] by name: what a head adds, such as mask_logits [N, D, M, M]

    def with_field(self, name: str, values: Tensor) -> Detections:
        """With `values` [N, D, ...] as the field `name`; ValueError for another number of slots."""
        return self._replace(fields=_with_field(self.fields, name, values, self.labels))

    def to_boxlists(
        self, image_sizes: Sequence[tuple[int, int]], boxlist_fields: BoxListFields | None = None
    ) -> list[BoxList]:
        """One BoxList an image with scores, labels and what `boxlist_fields` makes of the fields.

        `image_sizes` are (height, width). `boxlist_fields`: called for each image with its BoxList and its
        fields [n, ...]; returns fields of the BoxList by name. Waits for the device once.
        """
        result = []
        counts = self.valid.sum(dim=1).tolist()
        for i, ((height, width), count) in enumerate(zip(image_sizes, counts, strict=True)):
            boxlist = BoxList(self.boxes[i, :count], (width, height), mode="xyxy")
            boxlist.add_field("scores", self.scores[i, :count])
            boxlist.add_field("labels", self.labels[i, :count])
            if boxlist_fields is not None:
                fields = {name: values[i, :count] for name, values in self.fields.items()}
                for name, values in boxlist_fields(boxlist, fields).items():
                    boxlist.add_field(name, values)
            result.append(boxlist)
        return result


BoxListFields = Callable[[BoxList, Mapping[str, Tensor]], Mapping[str, Any]]


def _with_field(fields: dict[str, Tensor], name: str, values: Tensor, labels: Tensor) -> dict[str, Tensor]:
    if values.shape[:2] != labels.shape:
        raise ValueError(
            f"field {name!r} is {tuple(values.shape)}; it must begin with {tuple(labels.shape)}, "
            "images and slots"
        )
    return fields | {name: values}


def to_rois(boxes: Tensor, valid: Tensor) -> Tensor:
    """Regions [N * R, 5] of (image, x1, y1, x2, y2) from boxes [N, R, 4]; unused slots get image -1."""
    num_images, num_slots = valid.shape
    image = torch.arange(num_images, device=boxes.device, dtype=boxes.dtype).unsqueeze(1)
    image = torch.where(valid, image.expand(num_images, num_slots), -1.0)
    return torch.cat([image.unsqueeze(-1), boxes], dim=-1).flatten(0, 1)


def boxlists_to_rois(boxlists: Sequence[BoxList]) -> Tensor:
    """Regions [K, 5] of (image, x1, y1, x2, y2): the boxes of one BoxList after those of the other."""
    parts = []
    for image, boxlist in enumerate(boxlists):
        boxes = boxlist.convert("xyxy").bbox
        parts.append(torch.cat([boxes.new_full((len(boxes), 1), image), boxes], dim=1))
    return torch.cat(parts)
