"""The segmentations of a COCO file in flat tensors: polygons as coordinates, run lengths as bytes."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from maskrcnn_benchmark.data.datasets.packed import PackedBytes, offsets
from maskrcnn_benchmark.data.datasets.validation import Problems
from maskrcnn_benchmark.structures.segmentation_mask import MIN_POLYGON_VALUES, SegmentationMask


class Segments(NamedTuple):
    """Of each object either polygons (as in SegmentationMask) or a compressed run length, the other empty."""

    coords: Tensor  # [T, 2] float32
    polygon_starts: Tensor  # [Q + 1] int64
    instance_starts: Tensor  # [A + 1] int64
    run_lengths: PackedBytes  # A strings

    def select(self, first: int, last: int, size: tuple[int, int]) -> SegmentationMask:
        """Objects first .. last - 1 of an image of ``size`` (width, height)."""
        instance_starts = self.instance_starts[first : last + 1]
        polygon_starts = self.polygon_starts[instance_starts[0] : instance_starts[-1] + 1]
        coords = self.coords[polygon_starts[0] : polygon_starts[-1]]
        polygons = SegmentationMask.from_tensors(
            coords.clone(), polygon_starts - polygon_starts[0], instance_starts - instance_starts[0], size
        )
        lengths = self.run_lengths.starts[first : last + 1].diff()
        if not lengths.any():
            return polygons
        parts = []
        for index in range(last - first):
            if lengths[index] > 0:
                counts = self.run_lengths.unpack(first + index)
                rle = {"size": [size[1], size[0]], "counts": counts}
                parts.append(SegmentationMask([rle], size))
            else:
                parts.append(polygons[index])
        return SegmentationMask.cat(parts)


class SegmentReader:
    """Takes the segmentations of the objects one by one, checks them and packs them."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.without_mask: list[int] = []  # annotation ids
        self.short_polygons = 0
        self._coords = array("f")
        self._polygon_lengths: list[int] = []
        self._polygons_per_object: list[int] = []
        self._run_lengths: list[bytes] = []

    def add(self, annotation_id: int, segmentation: Any, size: tuple[int, int]) -> bool:
        """Takes one object; False where nothing of its mask encloses an area, and nothing was taken.

        ``size`` is (width, height) of the image. What is wrong beyond that is noted as a problem.
        """
        if isinstance(segmentation, dict):
            counts = self.check_run_length(annotation_id, segmentation, size)
            self._run_lengths.append(counts)
            self._polygons_per_object.append(0)
            return True
        if not segmentation:
            self.without_mask.append(annotation_id)
            return True
        polygons = self._check_polygons(annotation_id, segmentation)
        long_enough = [polygon for polygon in polygons if len(polygon) >= MIN_POLYGON_VALUES]
        self.short_polygons += len(polygons) - len(long_enough)
        if not long_enough:
            return False
        for polygon in long_enough:
            self._coords.extend(polygon)
            self._polygon_lengths.append(len(polygon) // 2)
        self._polygons_per_object.append(len(long_enough))
        self._run_lengths.append(b"")
        return True

    def finish(self) -> Segments:
        """Everything taken, as tensors. Note objects without a mask first: they leave no trace here."""
        coords = np.frombuffer(self._coords, dtype=np.float32).reshape(-1, 2).copy()
        return Segments(
            torch.from_numpy(coords),
            offsets(self._polygon_lengths),
            offsets(self._polygons_per_object),
            PackedBytes.pack(self._run_lengths),
        )

    def _check_polygons(self, annotation_id: int, segmentation: Any) -> list[Sequence[float]]:
        where, mend = f"annotation {annotation_id}", "write each polygon as [x1, y1, x2, y2, ...]"
        if not isinstance(segmentation, list) or not all(isinstance(each, list) for each in segmentation):
            self.problems.add(where, "segmentation is neither a list of polygons nor a run length", mend)
            return []
        for index, polygon in enumerate(segmentation):
            if len(polygon) == 0:
                self.problems.add(where, f"polygon {index} is empty", "remove it, or " + mend)
            elif len(polygon) % 2 == 1:
                self.problems.add(
                    where, f"polygon {index} has an odd number of values ({len(polygon)})", mend
                )
            elif not _all_finite(polygon):
                self.problems.add(where, f"polygon {index} holds something that is not a finite number", mend)
        return segmentation if self.problems.count == 0 else []

    def check_run_length(self, annotation_id: int, rle: dict[str, Any], size: tuple[int, int]) -> bytes:
        """The compressed counts of a mask; nothing where it does not fit the image, which is noted."""
        where, mend = f"annotation {annotation_id}", "encode the mask at the size of its image"
        expected = [size[1], size[0]]
        if rle.get("size") != expected:
            reason = f"run length of size {rle.get('size')}, but its image has [height, width] {expected}"
            self.problems.add(where, reason, mend)
            return b""
        counts = rle.get("counts")
        if isinstance(counts, list):
            total = sum(counts) if all(isinstance(each, int) and each >= 0 for each in counts) else None
        elif isinstance(counts, str):
            total = run_length_total(counts.encode())
        else:
            total = None
        if total != size[0] * size[1]:
            reason = f"run length covers {total} pixels, its image has {size[0] * size[1]}"
            self.problems.add(where, reason, mend)
            return b""
        if isinstance(counts, list):
            packed: bytes = coco_mask.frPyObjects(rle, size[1], size[0])["counts"]
            return packed
        return str(counts).encode()


def _all_finite(values: Sequence[Any]) -> bool:
    """Whether all are finite numbers, by their sum: a loop in Python would take minutes on a large file."""
    try:
        return math.isfinite(sum(values))
    except TypeError:
        return False


def run_length_total(counts: bytes) -> int | None:
    """Pixels covered by a compressed run length, None where it does not parse or holds a negative run.

    Five bits a character from '0' on, the sixth says that more follow, the fifth of the last is the sign;
    from the fourth run on each is the difference to the one two before.
    """
    digits = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    if len(digits) == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 0x20:
        return None
    ends = np.flatnonzero((digits & 0x20) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 6:
        return None
    values = np.add.reduceat((digits & 0x1F) << (5 * place), starts)
    negative = (digits[ends] & 0x10) != 0
    values = values - np.where(negative, np.int64(1) << (5 * (ends - starts + 1)), 0)
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    runs[2::2] = np.cumsum(values[2::2])
    return None if runs.min() < 0 else int(runs.sum())
