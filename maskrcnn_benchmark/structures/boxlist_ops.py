"""Operations on whole BoxLists: NMS, overlaps, filtering, joining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import nms
from maskrcnn_benchmark.layers.box_iou import box_iou
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


def boxlist_nms(
    boxlist: BoxList, nms_thresh: float, max_proposals: int = -1, score_field: str = "scores"
) -> BoxList:
    """The boxes that NMS keeps, by descending score; it removes at IoU > ``nms_thresh``.

    A threshold of zero or less switches NMS off; ``max_proposals`` > 0 keeps the best so many.
    """
    if nms_thresh <= 0:
        return boxlist
    keep = nms(boxlist.convert("xyxy").bbox, boxlist.get_field(score_field), nms_thresh)
    return boxlist[keep[:max_proposals] if max_proposals > 0 else keep]


def remove_small_boxes(boxlist: BoxList, min_size: float) -> BoxList:
    """The boxes whose both sides are at least ``min_size`` pixels."""
    sides = boxlist.convert("xywh").bbox[:, 2:]
    return boxlist[(sides >= min_size).all(dim=1)]


def boxlist_iou(boxlist1: BoxList, boxlist2: BoxList) -> Tensor:
    """IoU of every box of the first list with every box of the second, [M, N]. The image sizes must agree."""
    if boxlist1.size != boxlist2.size:
        raise ValueError(f"boxes of images of different size: {boxlist1} and {boxlist2}")
    return box_iou(boxlist1.convert("xyxy").bbox, boxlist2.convert("xyxy").bbox)


def cat_boxlist(bboxes: Sequence[BoxList]) -> BoxList:
    """The boxes of several lists of one image in one list; all must share size, mode and fields."""
    if len(bboxes) == 0:
        raise ValueError("cat_boxlist needs at least one BoxList")
    first = bboxes[0]
    for other in bboxes[1:]:
        if other.size != first.size or other.mode != first.mode or set(other.fields()) != set(first.fields()):
            raise ValueError(f"cannot join {other} to {first}: size, mode and fields must agree")
    joined = BoxList(torch.cat([boxes.bbox for boxes in bboxes]), first.size, first.mode)
    for name in first.fields():
        joined.add_field(name, _cat_field([boxes.get_field(name) for boxes in bboxes]))
    return joined


def _cat_field(parts: list[Any]) -> Any:
    if isinstance(parts[0], SegmentationMask):
        return SegmentationMask.cat(parts)
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return [entry for part in parts for entry in part]
