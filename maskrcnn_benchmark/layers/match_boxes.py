"""Matching of boxes to ground truth by overlap (csrc/cpu/match_boxes.cpp, csrc/cuda/match_boxes.cu).

Rules, the same on every device and in the fallback:

* The overlap is the IoU in float32 with sides that count pixels, ``x2 - x1 + 1``, computed as `box_iou` does,
  operation by operation. Thresholds are rounded to float32. Boxes of another dtype take the fallback, which
  computes in the dtype that torch promotes theirs to.
* Of ground truths that overlap a box equally, the one of the lowest slot is its best.
* A slot that is not valid takes no part, whatever it holds.
* An overlap of NaN is none: that pair takes no part. It comes from a NaN coordinate, and from inf / inf and
  0 / 0 where coordinates are infinite or corners the wrong way round; infinities otherwise follow IEEE
  arithmetic. (``Matcher`` on a matrix takes a NaN for the largest overlap, as torch's max does.)
* Memory grows with boxes and with ground truths, never with their product.
* Nothing is differentiable: indices come out.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES, LOAD_ERROR
from maskrcnn_benchmark.layers.box_iou import box_iou

BELOW_LOW_THRESHOLD = -1
BETWEEN_THRESHOLDS = -2
NO_OVERLAP = -1.0  # below every overlap
OVERLAPS_AT_ONCE = 1 << 22  # of the fallback


def match_boxes(
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_valid: Tensor,
    high_threshold: float,
    low_threshold: float,
    allow_low_quality: bool = False,
) -> Tensor:
    """The ground truth that each box overlaps most, thresholded (Ren et al., Faster R-CNN, section 3.1.2).

    On a GPU it does not synchronise, so it can be captured in a CUDA graph.

    Args:
        boxes: [A, 4] xyxy, the same for all images, or [N, A, 4].
        gt_boxes: [N, G, 4] xyxy.
        gt_valid: bool [N, G].
        high_threshold: an overlap of at least this is a match.
        low_threshold: an overlap below this is background.
        allow_low_quality: also match, whatever the thresholds say, the boxes that some ground truth overlaps
            most, ties included. Such a box goes to the ground truth that it overlaps most itself.

    Returns:
        int64 [N, A]: the slot of the ground truth, BELOW_LOW_THRESHOLD or BETWEEN_THRESHOLDS. Without valid
        ground truth every box is below.

    Raises:
        RuntimeError: on shapes, types or devices that do not fit together, or thresholds in the wrong order.
    """
    arguments = boxes, gt_boxes, gt_valid, high_threshold, low_threshold, allow_low_quality
    if boxes.device.type in KERNEL_DEVICES and boxes.dtype == gt_boxes.dtype == torch.float32:
        return torch.ops.maskrcnn_benchmark.match_boxes(*arguments)
    return match_in_chunks(*arguments)


def match_overlaps(
    overlaps: Tensor, highest_of_gt: Tensor | None, high_threshold: float, low_threshold: float
) -> Tensor:
    """Matches [..., A] from overlaps [..., G, A] with at least one ground truth.

    `highest_of_gt` [..., G, 1] restores the best boxes of each ground truth; where it is below 0, none.
    """
    largest, best_gt = overlaps.max(dim=-2)
    matches = best_gt.masked_fill(largest < high_threshold, BETWEEN_THRESHOLDS)
    matches = matches.masked_fill(largest < low_threshold, BELOW_LOW_THRESHOLD)
    if highest_of_gt is None:
        return matches
    is_best = (overlaps == highest_of_gt) & (highest_of_gt >= 0)
    return torch.where(is_best.any(dim=-2), best_gt, matches)


def match_in_chunks(
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_valid: Tensor,
    high_threshold: float,
    low_threshold: float,
    allow_low_quality: bool,
) -> Tensor:
    """``match_boxes`` in plain torch, some boxes at a time, where ours is not built and for other dtypes."""
    if not low_threshold <= high_threshold:
        raise RuntimeError(
            f"match_boxes: low_threshold {low_threshold} is above high_threshold {high_threshold}"
        )
    num_images, num_gt = gt_valid.shape
    num_boxes = boxes.shape[-2]
    if num_gt == 0 or num_boxes == 0:
        return gt_valid.new_full((num_images, num_boxes), BELOW_LOW_THRESHOLD, dtype=torch.int64)

    def overlaps_with(chunk: Tensor) -> Tensor:  # [N, G, boxes of the chunk]
        overlaps = box_iou(gt_boxes, chunk)
        return overlaps.masked_fill(~gt_valid.unsqueeze(-1) | overlaps.isnan(), NO_OVERLAP)

    chunks = boxes.split(max(1, OVERLAPS_AT_ONCE // max(1, num_images * num_gt)), dim=-2)
    highest = None
    if allow_low_quality:
        highest = gt_boxes.new_full((num_images, num_gt, 1), NO_OVERLAP)
        for chunk in chunks:
            highest = torch.maximum(highest, overlaps_with(chunk).amax(dim=-1, keepdim=True))
    matches = [
        match_overlaps(overlaps_with(chunk), highest, high_threshold, low_threshold) for chunk in chunks
    ]
    return torch.cat(matches, dim=-1)


if LOAD_ERROR is None:

    @torch.library.register_fake("maskrcnn_benchmark::match_boxes")
    def _(
        boxes: Tensor,
        gt_boxes: Tensor,
        gt_valid: Tensor,
        high_threshold: float,
        low_threshold: float,
        allow_low_quality: bool,
    ) -> Tensor:
        return boxes.new_empty((gt_boxes.shape[0], boxes.shape[-2]), dtype=torch.int64)
