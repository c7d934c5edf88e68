"""Ground truth of a batch as dense tensors with a validity mask, so that no loop over images remains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

BACKGROUND = "__background__"  # the name of class 0, which no ground-truth box has


class PolygonBatch(NamedTuple):
    """Polygons of a batch: those of ground-truth slot (n, g) are ``instance_starts[n * G + g : ... + 2]``."""

    coords: Tensor  # [T, 2] float32, x y of every vertex
    polygon_starts: Tensor  # [Q + 1] int32, into coords
    instance_starts: Tensor  # [N * G + 1] int32, into polygon_starts


class Targets(NamedTuple):
    """Padded ground truth: slot (n, g) holds a box where ``valid[n, g]``, zeros elsewhere."""

    boxes: Tensor  # [N, G, 4] float32 xyxy
    labels: Tensor  # [N, G] int64, 1 .. C - 1
    valid: Tensor  # [N, G] bool
    polygons: PolygonBatch | None
    fields: dict[str, Tensor]  # [N, G, ...] by name: what some head asks for beside these


def pad_targets(
    targets: Sequence[BoxList],
    device: torch.device | str | None = None,
    multiple: int = 8,
    num_classes: int | None = None,
    fields: Sequence[str] = (),
) -> Targets:
    """Pad the boxes of N images to a common count G and send them to ``device`` without waiting.

    G is the largest number of boxes rounded up to ``multiple``, and at least ``multiple``, so that few
    different shapes occur. Polygons are given where every image with boxes has the field "masks" (no polygons
    where there are no boxes).

    `fields`: names of further fields of the BoxLists, tensors [B, ...], to pad. A field that no image of the
    batch has, all being without boxes, is left out.

    Raises ValueError where only some of the images with boxes have masks, or labels are missing, or (for
    targets in host memory, given `num_classes`, which counts the background) outside 1 to num_classes - 1, or
    an image with boxes has not one of `fields`.
    """
    counts = [len(boxlist) for boxlist in targets]
    slots = max(-(-max(counts, default=0) // multiple) * multiple, multiple)
    source = targets[0].bbox.device if targets else torch.device("cpu")
    boxes = torch.zeros((len(targets), slots, 4), device=source)
    labels = torch.zeros((len(targets), slots), dtype=torch.int64, device=source)
    valid = torch.zeros((len(targets), slots), dtype=torch.bool, device=source)
    for index, boxlist in enumerate(targets):
        if counts[index] == 0:
            continue
        if not boxlist.has_field("labels"):
            raise ValueError(f"target {index} of the batch has no field 'labels': {boxlist}")
        if num_classes is not None and source.type == "cpu":
            _check_labels(boxlist.get_field("labels"), num_classes, index)
        boxes[index, : counts[index]] = boxlist.convert("xyxy").bbox
        labels[index, : counts[index]] = boxlist.get_field("labels")
        valid[index, : counts[index]] = True
    polygons = _pad_polygons(targets, slots)
    if polygons is not None:
        polygons = PolygonBatch(*(_send(tensor, device) for tensor in polygons))
    padded = {name: _send(values, device) for name, values in _pad_fields(targets, fields, slots).items()}
    return Targets(_send(boxes, device), _send(labels, device), _send(valid, device), polygons, padded)


def _check_labels(labels: Tensor, num_classes: int, index: int) -> None:
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 1 or highest >= num_classes:
        raise ValueError(
            f"target {index} of the batch has labels from {lowest} to {highest}; allowed are 1 to "
            f"{num_classes - 1}: 0 is the background, which the model's {num_classes} classes count"
        )


def _pad_fields(targets: Sequence[BoxList], names: Sequence[str], slots: int) -> dict[str, Tensor]:
    """The named fields as [N, slots, ...], zeros in the unused slots."""
    padded = {}
    for name in names:
        there = [boxlist.get_field(name) for boxlist in targets if boxlist.has_field(name)]
        for index, boxlist in enumerate(targets):
            if len(boxlist) > 0 and not boxlist.has_field(name):
                raise ValueError(
                    f"target {index} of the batch has no field {name!r}, which a head of the model needs: "
                    f"{boxlist}"
                )
        if there:
            padded[name] = there[0].new_zeros((len(targets), slots, *there[0].shape[1:]))
        for index, boxlist in enumerate(targets):
            if boxlist.has_field(name):
                padded[name][index, : len(boxlist)] = boxlist.get_field(name)
    return padded


def _pad_polygons(targets: Sequence[BoxList], slots: int) -> PolygonBatch | None:
    """Join the masks of all images, with empty instances in the unused slots."""
    with_boxes = [boxlist for boxlist in targets if len(boxlist) > 0]
    with_masks = [boxlist for boxlist in targets if boxlist.has_field("masks")]
    if not with_boxes:
        nothing = torch.zeros(len(targets) * slots + 1, dtype=torch.int32)
        return PolygonBatch(torch.zeros((0, 2)), nothing[:1], nothing)
    if not with_masks:
        return None
    if any(not boxlist.has_field("masks") for boxlist in with_boxes):
        raise ValueError("some targets of the batch have the field 'masks' and some do not: give all or none")
    parts = [boxlist.get_field("masks") for boxlist in with_masks]
    joined = SegmentationMask.cat(parts)
    per_slot = torch.zeros((len(targets), slots), dtype=torch.int64, device=joined.coords.device)
    for index, boxlist in enumerate(targets):
        if boxlist.has_field("masks"):
            per_slot[index, : len(boxlist)] = boxlist.get_field("masks").instance_starts.diff()
    instance_starts = torch.nn.functional.pad(per_slot.flatten().cumsum(0), (1, 0))
    return PolygonBatch(joined.coords, joined.polygon_starts.to(torch.int32), instance_starts.to(torch.int32))


def _send(tensor: Tensor, device: torch.device | str | None) -> Tensor:
    """Copy to the device; to a GPU from page-locked memory, else the copy would make the host wait."""
    if device is None or torch.device(device) == tensor.device:
        return tensor
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
