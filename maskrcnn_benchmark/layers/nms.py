"""NMS: removes boxes that overlap a better one (csrc/cpu/nms*.cpp, csrc/cuda/nms.cu).

Rules, the same on every device and in the fallback:

* Box widths count pixels: ``w = (x2 + 1) - x1``. The result equals torchvision's nms on boxes whose x2 and y2
  are raised by 1.
* Boxes are visited in order of descending score, ties by ascending index. A visited box that no kept box of
  its group overlaps by strictly more than the threshold is kept. The overlap is inter / union rounded to
  float32 (float64 for float64 input), compared with the threshold in float64.
* float32, float16 and bfloat16 are computed in float32 (so autocast has nothing to change), float64 in
  float64, which the compiled operator offers on the CPU only. Boxes and scores may differ in dtype.
* An entry with a NaN score or a NaN coordinate is never kept and removes nothing. Infinite scores order as
  numbers do. Infinite coordinates follow IEEE arithmetic, and an overlap that comes out as NaN (inf / inf,
  0 / 0) removes nothing.
* Nothing is differentiable: indices and masks come out.
"""

import torch
import torchvision
from torch import Tensor

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES, LOAD_ERROR


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Indices of the boxes that stay, in order of descending score.

    Args:
        boxes: [K, 4] x1, y1, x2, y2, inclusive corners.
        scores: [K].
        threshold: overlap (0 or more) above which the lower-scored box of a pair is dropped.

    Returns:
        int64 [n]. The size depends on the data: on a GPU this synchronises (batched_nms does not).

    Raises:
        RuntimeError: on shapes, dtypes or devices that do not fit together, or a negative threshold.
    """
    if boxes.device.type in KERNEL_DEVICES:
        return torch.ops.maskrcnn_benchmark.nms(boxes, scores, threshold)
    return nms_with_torchvision(boxes, scores, threshold)


def batched_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, threshold: float, max_output: int
) -> tuple[Tensor, Tensor]:
    """NMS in every group of every image, with an output of fixed size.

    On a GPU it neither synchronises nor allocates by data, so it can be captured in a CUDA graph.

    Args:
        boxes: [B, K, 4] x1, y1, x2, y2, inclusive corners.
        scores: [B, K].
        groups: int64 [B, K], for instance the pyramid level or the class; any values. Boxes of different
            groups do not remove each other.
        valid: bool [B, K]; the other entries take no part, whatever they hold.
        threshold: overlap (0 or more) above which the lower-scored box of a pair is dropped.
        max_output: D, the number of boxes to return for each image, over all groups.

    Returns:
        index int64 [B, D]: the kept boxes in order of descending score, 0 where there are fewer than D;
        keep bool [B, D]: which places of ``index`` are used.

    Raises:
        RuntimeError: on shapes, dtypes or devices that do not fit together, or a negative threshold.
    """
    if boxes.device.type in KERNEL_DEVICES:
        return torch.ops.maskrcnn_benchmark.batched_nms(boxes, scores, groups, valid, threshold, max_output)
    return batched_nms_with_torchvision(boxes, scores, groups, valid, threshold, max_output)


def nms_with_torchvision(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """``nms`` by torchvision's operator, for where ours is not built."""
    if not threshold >= 0:
        raise RuntimeError(f"nms: threshold must be 0 or more, got {threshold}")
    dtype = torch.float64 if torch.float64 in (boxes.dtype, scores.dtype) else torch.float32
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    index = torch.nonzero(~(boxes.isnan().any(dim=1) | scores.isnan())).squeeze(1)
    boxes, scores = boxes[index], scores[index]
    exclusive = torch.cat([boxes[:, :2], boxes[:, 2:] + 1], dim=1)
    return index[torchvision.ops.nms(exclusive, scores, threshold)]


def batched_nms_with_torchvision(
    boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, threshold: float, max_output: int
) -> tuple[Tensor, Tensor]:
    """``batched_nms`` by torchvision's operator, one image and group after another."""
    index = groups.new_zeros((boxes.shape[0], max_output))
    keep = torch.zeros_like(index, dtype=torch.bool)
    for image in range(boxes.shape[0]):
        kept = torch.zeros_like(valid[image])
        for group in groups[image][valid[image]].unique():
            members = torch.nonzero(valid[image] & (groups[image] == group)).squeeze(1)
            stay = nms_with_torchvision(boxes[image, members], scores[image, members], threshold)
            kept[members[stay]] = True
        best_first = scores[image].argsort(descending=True, stable=True)
        kept_first = best_first[kept[best_first]][:max_output]
        index[image, : len(kept_first)] = kept_first
        keep[image, : len(kept_first)] = True
    return index, keep


if LOAD_ERROR is None:

    @torch.library.register_fake("maskrcnn_benchmark::nms")
    def _(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
        num_kept = torch.library.get_ctx().new_dynamic_size()
        return boxes.new_empty(num_kept, dtype=torch.int64)

    @torch.library.register_fake("maskrcnn_benchmark::batched_nms")
    def _(
        boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, threshold: float, max_output: int
    ) -> tuple[Tensor, Tensor]:
        shape = (boxes.shape[0], max_output)
        return boxes.new_empty(shape, dtype=torch.int64), boxes.new_empty(shape, dtype=torch.bool)
