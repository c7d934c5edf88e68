"""Masks without full-image stacks: polygons to small targets, small masks to COCO's RLE.

Compiled in csrc/cpu/rasterize_polygons.cpp, csrc/cuda/rasterize_polygons.cu and csrc/cpu/paste_masks.cpp; by
pycocotools and torch where that library is not built, with the same numbers. Nothing is differentiable.
"""

import itertools
from typing import TypedDict

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES, LOAD_ERROR


class RLE(TypedDict):
    """A compressed COCO run-length encoding: size [height, width] and the counts' string."""

    size: list[int]
    counts: bytes


def rasterize_polygons(
    coords: Tensor,
    polygon_starts: Tensor,
    instance_starts: Tensor,
    instance: Tensor,
    boxes: Tensor,
    size: int,
) -> Tensor:
    """Mask targets: the polygons of an instance, cropped to a box, scaled and rasterised as COCO does.

    Equal, pixel by pixel, to pycocotools' frPyObjects of ``(xy - box origin) * (size / box size)`` in
    float32 and the union of the polygons. The box's size is x2 - x1, as in the family (not the pixel count);
    where it is not positive it counts as 1, where the family divides by zero. The box is not clipped: the
    family moves a negative corner to 0 first. A polygon of fewer than three vertices is empty. On a GPU
    nothing synchronises; offsets are checked on the CPU only, and must ascend.

    Args:
        coords: float32 [T, 2] vertices x, y in image pixels.
        polygon_starts: integer [Q + 1], where the vertices of each polygon start, and where the last end.
        instance_starts: integer [G + 1], the same for the polygons of each instance.
        instance: integer [R], the instance of each region; outside 0 .. G-1 (-1): an empty mask.
        boxes: [R, 4] x1, y1, x2, y2.
        size: M, side of the masks, at most 256.

    Returns:
        uint8 [R, M, M], 0 or 1.

    Raises:
        RuntimeError: on shapes, dtypes, devices or offsets that do not fit together.
    """
    polygons = coords.float(), polygon_starts.to(torch.int32), instance_starts.to(torch.int32)
    regions = instance.to(torch.int64), boxes.float()
    if boxes.device.type in KERNEL_DEVICES:
        return torch.ops.maskrcnn_benchmark.rasterize_polygons(*polygons, *regions, size)
    return rasterize_with_pycocotools(*polygons, *regions, size)


def paste_masks_rle(
    masks: Tensor, boxes: Tensor, image_hw: tuple[int, int], threshold: float = 0.5, padding: int = 1
) -> list[RLE]:
    """Pastes masks into an image and encodes them, without ever making an image-sized mask.

    The family's rule: a border of `padding` zeros, the box grown by (M + 2 padding) / M about its middle and
    cut to integers, bilinear resizing (align_corners False) to its size counted in pixels, x2 - x1 + 1. A
    mask whose box is not finite, or outside the image, is empty. Pixels whose value is the threshold to
    within float32 rounding (1e-6) may differ from torch's interpolate, whose own rounding depends on the
    size and the processor.

    Args:
        masks: [K, M, M] or [K, 1, M, M] probabilities; moved to the CPU.
        boxes: [K, 4] x1, y1, x2, y2 in image pixels; moved to the CPU.
        image_hw: the image's size.
        threshold: 0 or more; a pixel belongs to the mask where its value is above it.
        padding: width of the border of zeros.

    Returns:
        K RLE dicts, as pycocotools.mask.encode gives.

    Raises:
        RuntimeError: on shapes that do not fit together, a negative threshold, size or padding.
    """
    masks, boxes = masks.detach().float().cpu(), boxes.detach().float().cpu()
    if masks.dim() == 4:
        masks = masks.squeeze(1)
    height, width = image_hw
    if LOAD_ERROR is not None:
        return paste_with_pycocotools(masks, boxes, image_hw, threshold, padding)
    text, offsets = torch.ops.maskrcnn_benchmark.paste_masks_rle(
        masks, boxes, height, width, threshold, padding
    )
    counts, ends = text.numpy().tobytes(), offsets.tolist()
    return [{"size": [height, width], "counts": counts[start:end]} for start, end in itertools.pairwise(ends)]


def paste_mask(
    mask: Tensor, box: Tensor, image_hw: tuple[int, int], threshold: float = 0.5, padding: int = 1
) -> Tensor:
    """One mask [M, M] pasted into an image of its own, uint8 [height, width]: for pictures."""
    (rle,) = paste_masks_rle(
        mask.reshape(1, *mask.shape[-2:]), box.reshape(1, 4), image_hw, threshold, padding
    )
    return torch.from_numpy(coco_mask.decode(rle))


def rasterize_with_pycocotools(
    coords: Tensor,
    polygon_starts: Tensor,
    instance_starts: Tensor,
    instance: Tensor,
    boxes: Tensor,
    size: int,
) -> Tensor:
    """``rasterize_polygons`` by pycocotools, one region after another, for where ours is not built."""
    starts, instances = polygon_starts.tolist(), instance_starts.tolist()
    masks = torch.zeros(len(boxes), size, size, dtype=torch.uint8)
    for region, (of_region, box) in enumerate(zip(instance.tolist(), boxes.tolist(), strict=True)):
        if not 0 <= of_region < len(instances) - 1:
            continue
        width, height = box[2] - box[0], box[3] - box[1]
        ratios = [size / (side if side > 0 else 1.0) for side in (width, height)]
        frame = torch.tensor([box[:2], ratios], dtype=torch.float32)
        polygons = []
        for polygon in range(instances[of_region], instances[of_region + 1]):
            vertices = (coords[starts[polygon] : starts[polygon + 1]].cpu() - frame[0]) * frame[1]
            if len(vertices) >= 3:
                polygons.append(vertices.flatten().tolist())
        if polygons:
            union = coco_mask.merge(coco_mask.frPyObjects(polygons, size, size))
            masks[region] = torch.from_numpy(coco_mask.decode(union))
    return masks.to(boxes.device)


def paste_with_pycocotools(
    masks: Tensor, boxes: Tensor, image_hw: tuple[int, int], threshold: float, padding: int
) -> list[RLE]:
    """``paste_masks_rle`` by torch and pycocotools, an image for each mask, for where ours is not built."""
    if threshold < 0 or padding < 0:
        raise RuntimeError(f"threshold and padding must be 0 or more, got {threshold} and {padding}")
    size = masks.shape[-1]
    padded = torch.nn.functional.pad(masks, (padding,) * 4)
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * ((size + 2 * padding) / size)
    middle = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    frames = torch.cat([middle - half, middle + half], dim=1)
    rles: list[RLE] = []
    for mask, frame in zip(padded, frames, strict=True):
        image = torch.zeros(image_hw, dtype=torch.uint8)
        if frame.isfinite().all():
            draw_mask(mask, frame.to(torch.int64).tolist(), threshold, image)
        rles.append(coco_mask.encode(np.asfortranarray(image.numpy())))
    return rles


def draw_mask(mask: Tensor, frame: list[int], threshold: float, image: Tensor) -> None:
    """Sets the pixels of `image` [H, W] where `mask`, resized to the integer box `frame`, is above."""
    left, top, right, bottom = frame
    size = (max(bottom - top + 1, 1), max(right - left + 1, 1))
    y0, y1 = max(top, 0), min(bottom + 1, image.shape[0])
    x0, x1 = max(left, 0), min(right + 1, image.shape[1])
    if y0 < y1 and x0 < x1:
        resized = torch.nn.functional.interpolate(
            mask[None, None], size, mode="bilinear", align_corners=False
        )
        image[y0:y1, x0:x1] = resized[0, 0, y0 - top : y1 - top, x0 - left : x1 - left] > threshold


if LOAD_ERROR is None:

    @torch.library.register_fake("maskrcnn_benchmark::rasterize_polygons")
    def _(
        coords: Tensor,
        polygon_starts: Tensor,
        instance_starts: Tensor,
        instance: Tensor,
        boxes: Tensor,
        size: int,
    ) -> Tensor:
        return boxes.new_empty((boxes.shape[0], size, size), dtype=torch.uint8)

    @torch.library.register_fake("maskrcnn_benchmark::paste_masks_rle")
    def _(
        masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float, padding: int
    ) -> tuple[Tensor, Tensor]:
        length = torch.library.get_ctx().new_dynamic_size()
        text = masks.new_empty(length, dtype=torch.uint8)
        return text, masks.new_empty(masks.shape[0] + 1, dtype=torch.int64)
