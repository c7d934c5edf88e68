"""Targets and detections as plain dictionaries of tensors, for code that does not know BoxList.

The numbers are those of the BoxList: corners that both belong to the box, so a box is x2 - x1 + 1 wide.
Boxes whose x2 and y2 lie one beyond the last pixel (torchvision's) come here with 1 taken off both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from maskrcnn_benchmark.layers.mask_ops import paste_masks_rle
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


def boxlist_from_dict(
    target: Mapping[str, Any], image_hw: tuple[int, int], fields: Sequence[str] = ()
) -> BoxList:
    """A target of one image: `boxes` [G, 4] xyxy, `labels` [G] (1 the first class), and perhaps `masks`.

    `masks` are binary [G, H, W], or polygons: for each instance a list of [x1, y1, x2, y2, ...]. `fields`:
    further keys to take where they are given; others (image_id, area, ...) are ignored.

    Raises:
        ValueError: boxes or labels are missing, or lengths and sizes do not fit.
    """
    missing = [key for key in ("boxes", "labels") if key not in target]
    if missing:
        raise ValueError(
            f"a target as a dictionary needs 'boxes' and 'labels'; {' and '.join(map(repr, missing))} "
            f"missing among {sorted(target)}"
        )
    height, width = image_hw
    boxlist = BoxList(target["boxes"], (width, height), mode="xyxy")
    boxlist.add_field("labels", torch.as_tensor(target["labels"], dtype=torch.int64))
    masks = target.get("masks")
    if masks is not None:
        mode = "mask" if isinstance(masks, (Tensor, np.ndarray)) else "poly"
        pixels = masks.cpu() if isinstance(masks, Tensor) else masks
        boxlist.add_field("masks", SegmentationMask(pixels, (width, height), mode))
    for name in fields:
        if name in target:
            boxlist.add_field(name, torch.as_tensor(target[name]))
    return boxlist


def boxlist_to_dict(boxlist: BoxList) -> dict[str, Tensor]:
    """Detections of one image: `boxes` [n, 4] xyxy, `labels`, `scores` [n] and, with a mask head, `masks`.

    `masks` are bool [n, H, W] in the image's frame, on the CPU: each mask is pasted whole, so many
    detections in a large image take much memory; the BoxList keeps them small.
    """
    plain = {
        "boxes": boxlist.convert("xyxy").bbox,
        "labels": boxlist.get_field("labels"),
        "scores": boxlist.get_field("scores"),
    }
    if boxlist.has_field("mask"):
        width, height = boxlist.size
        pasted = paste_masks_rle(boxlist.get_field("mask"), plain["boxes"], (height, width))
        masks = np.zeros((len(pasted), height, width), dtype=bool)
        for index, encoded in enumerate(pasted):
            masks[index] = coco_mask.decode(encoded)
        plain["masks"] = torch.from_numpy(masks)
    return plain
