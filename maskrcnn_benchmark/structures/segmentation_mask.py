"""Instance masks of one image as polygons in three flat tensors.

Polygons follow COCO: continuous coordinates in which pixel (x, y) covers [x, x + 1) x [y, y + 1). Masks
given as pixels or run lengths become polygons that rasterise to exactly those pixels (``mask_polygons``).
Coordinates are float32 as in the family; rasterised in double, a few border pixels may fall otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM
from maskrcnn_benchmark.structures.mask_polygons import mask_to_polygons, rle_to_polygons

MIN_POLYGON_VALUES = 6  # three vertices


class SegmentationMask:
    """Polygons of G instances in an image of ``size`` (width, height).

    Instance g has polygons ``instance_starts[g] : instance_starts[g + 1]``, polygon q the vertices
    ``coords[polygon_starts[q] : polygon_starts[q + 1]]``. An instance may have none: its mask is empty.
    The mask of an instance is the union of its polygons.
    """

    def __init__(
        self,
        instances: SegmentationMask | Tensor | NDArray[np.uint8] | Sequence[Any],
        size: tuple[int, int],
        mode: str = "poly",
    ) -> None:
        """Build from one entry per instance.

        instances: with mode "poly" a list of polygons per instance, each [x1, y1, x2, y2, ...], or a run
            length (COCO dict with size and counts) in place of the list; with mode "mask" binary masks
            [G, H, W] (or [H, W]) or run lengths. Polygons of fewer than three vertices are left out.
        size: (width, height) of the image.

        Raises ValueError for an unknown mode or a mask of another size than the image.
        """
        if mode not in ("poly", "mask"):
            raise ValueError(f"mode must be 'poly' or 'mask', got {mode!r}")
        self.coords: Tensor
        self.polygon_starts: Tensor
        self.instance_starts: Tensor
        self.size = (size[0], size[1])
        if isinstance(instances, SegmentationMask):
            self.coords, self.polygon_starts = instances.coords, instances.polygon_starts
            self.instance_starts = instances.instance_starts
            return
        if isinstance(instances, (Tensor, np.ndarray)):
            pixels = np.asarray(instances)
            instances = list(pixels[None] if pixels.ndim == 2 else pixels)
        polygons = [_instance_polygons(instance, self.size) for instance in instances]
        flat = [polygon for instance in polygons for polygon in instance]
        self.coords = torch.from_numpy(np.concatenate([np.zeros((0, 2), np.float32), *flat]))
        self.polygon_starts = _starts([len(polygon) for polygon in flat])
        self.instance_starts = _starts([len(instance) for instance in polygons])

    @classmethod
    def from_tensors(
        cls, coords: Tensor, polygon_starts: Tensor, instance_starts: Tensor, size: tuple[int, int]
    ) -> SegmentationMask:
        """Wrap the three tensors of the compact form: [T, 2] float32, [Q + 1] int64, [G + 1] int64."""
        mask = cls.__new__(cls)
        mask.coords, mask.polygon_starts, mask.instance_starts = coords, polygon_starts, instance_starts
        mask.size = (size[0], size[1])
        return mask

    @staticmethod
    def cat(masks: Sequence[SegmentationMask]) -> SegmentationMask:
        """The instances of several masks one after another, with the first one's size."""
        return SegmentationMask.from_tensors(
            torch.cat([mask.coords for mask in masks]),
            _join_starts([mask.polygon_starts for mask in masks]),
            _join_starts([mask.instance_starts for mask in masks]),
            masks[0].size,
        )

    def _moved(self, coords: Tensor, size: tuple[int, int]) -> SegmentationMask:
        return SegmentationMask.from_tensors(coords, self.polygon_starts, self.instance_starts, size)

    def transpose(self, method: int) -> SegmentationMask:
        """Mirrored by FLIP_LEFT_RIGHT or FLIP_TOP_BOTTOM: x becomes width - x - 1, as in the family."""
        if method not in (FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM):
            raise ValueError(
                f"method must be FLIP_LEFT_RIGHT ({FLIP_LEFT_RIGHT}) or FLIP_TOP_BOTTOM ({FLIP_TOP_BOTTOM}), "
                f"got {method!r}"
            )
        x, y = self.coords.unbind(dim=1)
        if method == FLIP_LEFT_RIGHT:
            x = self.size[0] - x - 1
        else:
            y = self.size[1] - y - 1
        return self._moved(torch.stack([x, y], dim=1), self.size)

    def crop(self, box: Sequence[float]) -> SegmentationMask:
        """In the frame of ``box`` (x1, y1, x2, y2); vertices outside it stay where they are."""
        x1, y1, x2, y2 = (float(value) for value in box)
        # a box without width has no scale: it counts as one pixel wide
        size = (x2 - x1 or 1, y2 - y1 or 1)
        return self._moved(self.coords - self.coords.new_tensor([x1, y1]), size)  # type: ignore[arg-type]

    def resize(self, size: int | tuple[int, int]) -> SegmentationMask:
        """In the frame of the image resized to ``size`` (width, height), or to a square."""
        width, height = (size, size) if isinstance(size, int) else size
        scale = self.coords.new_tensor([width / self.size[0], height / self.size[1]])
        return self._moved(self.coords * scale, (width, height))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SegmentationMask:
        """The same masks on another device."""
        tensors = (self.coords, self.polygon_starts, self.instance_starts)
        coords, polygon_starts, instance_starts = (
            tensor.to(device, non_blocking=non_blocking) for tensor in tensors
        )
        return SegmentationMask.from_tensors(coords, polygon_starts, instance_starts, self.size)

    def __getitem__(self, item: Any) -> SegmentationMask:
        """The chosen instances: an int, a slice, a list or tensor of indices, a boolean mask."""
        chosen = torch.arange(len(self), device=self.coords.device)[item].reshape(-1)
        polygons, instance_starts = _gather_ranges(self.instance_starts, chosen)
        vertices, polygon_starts = _gather_ranges(self.polygon_starts, polygons)
        return SegmentationMask.from_tensors(
            self.coords[vertices], polygon_starts, instance_starts, self.size
        )

    def __len__(self) -> int:
        return self.instance_starts.shape[0] - 1

    def polygons(self, instance: int) -> list[Tensor]:
        """The polygons of one instance, each [vertices, 2]."""
        starts = self.polygon_starts.tolist()
        first, last = self.instance_starts[instance : instance + 2].tolist()
        return [self.coords[starts[q] : starts[q + 1]] for q in range(first, last)]

    def to_rle(self) -> list[dict[str, Any]]:
        """COCO compressed run lengths of each instance at the image's size."""
        width, height = int(self.size[0]), int(self.size[1])
        encoded = []
        for instance in range(len(self)):
            flat = [polygon.double().flatten().tolist() for polygon in self.polygons(instance)]
            if flat:
                encoded.append(coco_mask.merge(coco_mask.frPyObjects(flat, height, width)))
            else:
                encoded.append(coco_mask.encode(np.zeros((height, width), np.uint8, order="F")))
        return encoded

    def get_mask_tensor(self) -> Tensor:
        """Binary masks at the image's size, [G, height, width] uint8, on the CPU."""
        masks = torch.zeros((len(self), int(self.size[1]), int(self.size[0])), dtype=torch.uint8)
        for instance, rle in enumerate(self.to_rle()):
            masks[instance] = torch.from_numpy(coco_mask.decode(rle))
        return masks

    def __getstate__(self) -> tuple[Any, ...]:
        # arrays pickle as bytes; tensors would each take a shared-memory file on the way out of a worker
        arrays = (self.coords.cpu(), self.polygon_starts.cpu(), self.instance_starts.cpu())
        return (*(array.numpy() for array in arrays), self.size)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        coords, polygon_starts, instance_starts, self.size = state
        self.coords = torch.from_numpy(coords)
        self.polygon_starts = torch.from_numpy(polygon_starts)
        self.instance_starts = torch.from_numpy(instance_starts)

    def __repr__(self) -> str:
        return (
            f"SegmentationMask(num_instances={len(self)}, image_width={self.size[0]}, "
            f"image_height={self.size[1]}, num_vertices={self.coords.shape[0]})"
        )


def _instance_polygons(instance: Any, size: tuple[int, int]) -> list[NDArray[np.float32]]:
    """Polygons [vertices, 2] of one instance in any of the accepted forms."""
    if isinstance(instance, dict):
        return rle_to_polygons(instance, size)
    if isinstance(instance, (Tensor, np.ndarray)) and instance.ndim == 2:
        return mask_to_polygons(np.asarray(instance), size)
    flat = [np.asarray(polygon, dtype=np.float32).reshape(-1) for polygon in instance]
    return [polygon.reshape(-1, 2) for polygon in flat if len(polygon) >= MIN_POLYGON_VALUES]


def _starts(lengths: list[int]) -> Tensor:
    """Offsets [n + 1] of n consecutive runs of the given lengths."""
    return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64))


def _join_starts(parts: list[Tensor]) -> Tensor:
    lengths = torch.cat([starts.diff() for starts in parts])
    return torch.nn.functional.pad(lengths.cumsum(0), (1, 0))


def _gather_ranges(starts: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of everything in the chosen runs, in order, and the runs' new offsets."""
    lengths = starts.diff()[chosen]
    new_starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    shift = torch.repeat_interleave(starts[:-1][chosen] - new_starts[:-1], lengths)
    return torch.arange(shift.shape[0], device=starts.device) + shift, new_starts
