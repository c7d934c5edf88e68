"""Boxes of one image with named per-box fields.

Box widths count pixels: a box from x1 to x2 is ``x2 - x1 + 1`` wide, the convention the published
weights of this family were trained with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

FLIP_LEFT_RIGHT = 0
FLIP_TOP_BOTTOM = 1

_MODES = ("xyxy", "xywh")


class BoxList:
    """``bbox`` [B, 4] float32 in the frame of an image of ``size`` (width, height).

    ``mode`` is ``"xyxy"`` (both corners belong to the box) or ``"xywh"``. Fields hold one entry per box
    (a tensor, a list or a ``SegmentationMask``). Every method returns a new object, except the
    ``add_field`` and ``_copy_extra_fields`` that build one up.

    Raises ValueError for boxes that are not [B, 4], an unknown mode, or a field of another length.
    """

    def __init__(
        self, bbox: Tensor | Sequence[Sequence[float]], image_size: tuple[int, int], mode: str = "xyxy"
    ) -> None:
        boxes = torch.as_tensor(bbox, dtype=torch.float32)
        if boxes.numel() == 0:
            boxes = boxes.reshape(-1, 4)
        if boxes.ndim != 2 or boxes.shape[-1] != 4:
            raise ValueError(f"bbox must be [number of boxes, 4], got shape {tuple(boxes.shape)}")
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {_MODES}, got {mode!r}")
        self.bbox = boxes
        self.size = (image_size[0], image_size[1])
        self.mode = mode
        self.extra_fields: dict[str, Any] = {}

    def add_field(self, field: str, field_data: Any) -> None:
        """Attach one entry per box under a name. ValueError where the length is not the number of boxes."""
        if len(field_data) != len(self):
            raise ValueError(f"field {field!r} has {len(field_data)} entries for {len(self)} boxes")
        self.extra_fields[field] = field_data

    def get_field(self, field: str) -> Any:
        """The field's data. KeyError naming the fields there are."""
        if field not in self.extra_fields:
            raise KeyError(f"no field {field!r}; this BoxList has {self.fields()}")
        return self.extra_fields[field]

    def has_field(self, field: str) -> bool:
        return field in self.extra_fields

    def fields(self) -> list[str]:
        return list(self.extra_fields)

    def _copy_extra_fields(self, other: BoxList) -> None:
        for name, data in other.extra_fields.items():
            self.add_field(name, data)

    def _with_boxes(self, boxes: Tensor, size: tuple[int, int], mode: str) -> BoxList:
        return BoxList(boxes, size, mode)

    def convert(self, mode: str) -> BoxList:
        """The same boxes in another mode; fields are shared, not copied."""
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {_MODES}, got {mode!r}")
        if mode == self.mode:
            return self
        first, second = self.bbox[:, :2], self.bbox[:, 2:]
        # no two corners of a pixel-counting box stand for a width of zero or less: it becomes one pixel
        other = second - first + 1 if mode == "xywh" else first + (second - 1).clamp(min=0)
        converted = self._with_boxes(torch.cat([first, other], dim=1), self.size, mode)
        converted._copy_extra_fields(self)
        return converted

    def _map_fields(self, target: BoxList, method: str, *arguments: Any) -> BoxList:
        """Give ``target`` the fields; geometric ones (not tensors) follow through their own method."""
        for name, data in self.extra_fields.items():
            geometric = not isinstance(data, Tensor) and hasattr(data, method)
            target.add_field(name, getattr(data, method)(*arguments) if geometric else data)
        return target

    def resize(self, size: tuple[int, int]) -> BoxList:
        """Boxes and masks in the frame of the image resized to ``size`` (width, height)."""
        ratio_w, ratio_h = size[0] / self.size[0], size[1] / self.size[1]
        if ratio_w == ratio_h:  # scales widths too in xywh mode, as the family does
            scaled = self._with_boxes(self.bbox * ratio_w, size, self.mode)
            return self._map_fields(scaled, "resize", size)
        corners = self.convert("xyxy").bbox
        scale = corners.new_tensor([ratio_w, ratio_h, ratio_w, ratio_h])
        scaled = self._with_boxes(corners * scale, size, "xyxy")
        return self._map_fields(scaled, "resize", size).convert(self.mode)

    def transpose(self, method: int) -> BoxList:
        """Boxes and masks of the image mirrored by FLIP_LEFT_RIGHT or FLIP_TOP_BOTTOM."""
        if method not in (FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM):
            raise ValueError(
                f"method must be FLIP_LEFT_RIGHT ({FLIP_LEFT_RIGHT}) or FLIP_TOP_BOTTOM ({FLIP_TOP_BOTTOM}), "
                f"got {method!r}"
            )
        width, height = self.size
        x1, y1, x2, y2 = self.convert("xyxy").bbox.unbind(dim=1)
        if method == FLIP_LEFT_RIGHT:
            flipped = torch.stack([width - 1 - x2, y1, width - 1 - x1, y2], dim=1)
        else:  # without the -1: the family's numbers, one pixel below the mirrored pixels
            flipped = torch.stack([x1, height - y2, x2, height - y1], dim=1)
        mirrored = self._with_boxes(flipped, self.size, "xyxy")
        return self._map_fields(mirrored, "transpose", method).convert(self.mode)

    def crop(self, box: Sequence[int]) -> BoxList:
        """Boxes clamped into ``box`` (x1, y1, x2, y2), in its frame of size (x2 - x1, y2 - y1)."""
        x1, y1, x2, y2 = box
        width, height = x2 - x1, y2 - y1
        corners = self.convert("xyxy").bbox
        shifted = corners - corners.new_tensor([x1, y1, x1, y1])
        limit = corners.new_tensor([width, height, width, height])
        cropped = self._with_boxes(torch.minimum(shifted.clamp(min=0), limit), (width, height), "xyxy")
        return self._map_fields(cropped, "crop", box).convert(self.mode)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> BoxList:
        """Boxes and every field that can move, on another device."""
        moved = self._with_boxes(self.bbox.to(device, non_blocking=non_blocking), self.size, self.mode)
        for name, data in self.extra_fields.items():
            movable = hasattr(data, "to")
            moved.add_field(name, data.to(device, non_blocking=non_blocking) if movable else data)
        return moved

    def __getitem__(self, item: Any) -> BoxList:
        """The chosen boxes with fields: an int, a slice, a list or tensor of indices, a boolean mask."""
        if isinstance(item, int):
            if not -len(self) <= item < len(self):
                raise IndexError(f"index {item} out of range for {len(self)} boxes")
            item = [item]
        chosen = self._with_boxes(self.bbox[item], self.size, self.mode)
        for name, data in self.extra_fields.items():
            chosen.add_field(name, _pick(data, item))
        return chosen

    def __iter__(self) -> Iterator[BoxList]:
        return (self[index] for index in range(len(self)))

    def __len__(self) -> int:
        return self.bbox.shape[0]

    def clip_to_image(self, remove_empty: bool = True) -> BoxList:
        """Boxes clipped to pixels 0 .. size - 1; with ``remove_empty`` those with x2 > x1 and y2 > y1."""
        corners = self.convert("xyxy").bbox
        limit = corners.new_tensor([self.size[0] - 1, self.size[1] - 1] * 2)
        clipped = self._with_boxes(torch.minimum(corners.clamp(min=0), limit), self.size, "xyxy")
        clipped._copy_extra_fields(self)
        if remove_empty:
            x1, y1, x2, y2 = clipped.bbox.unbind(dim=1)
            clipped = clipped[(x2 > x1) & (y2 > y1)]
        return clipped.convert(self.mode)

    def area(self) -> Tensor:
        """Pixels in each box, [B]."""
        if self.mode == "xywh":
            return self.bbox[:, 2] * self.bbox[:, 3]
        sides = self.bbox[:, 2:] - self.bbox[:, :2] + 1
        return sides[:, 0] * sides[:, 1]

    def copy_with_fields(self, fields: str | Sequence[str], skip_missing: bool = False) -> BoxList:
        """The boxes with only the named fields. KeyError for an absent one unless ``skip_missing``."""
        chosen = self._with_boxes(self.bbox, self.size, self.mode)
        for name in [fields] if isinstance(fields, str) else fields:
            if self.has_field(name) or not skip_missing:
                chosen.add_field(name, self.get_field(name))
        return chosen

    def __getstate__(self) -> dict[str, Any]:
        # as arrays: a tensor costs an open file on the way out of a loader's worker, and a batch holds dozens
        packed = {name: (isinstance(data, Tensor), _pack(data)) for name, data in self.extra_fields.items()}
        return {"bbox": _pack(self.bbox), "size": self.size, "mode": self.mode, "fields": packed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.bbox = torch.as_tensor(state["bbox"])
        self.size, self.mode = state["size"], state["mode"]
        self.extra_fields = {
            name: torch.as_tensor(data) if is_tensor else data
            for name, (is_tensor, data) in state["fields"].items()
        }

    def __repr__(self) -> str:
        return (
            f"BoxList(num_boxes={len(self)}, image_width={self.size[0]}, image_height={self.size[1]}, "
            f"mode={self.mode}, fields={self.fields()})"
        )


def _pack(data: Any) -> Any:
    """The data of a tensor on the CPU as an array where numpy has the type; anything else as it is."""
    if not isinstance(data, Tensor) or data.device.type != "cpu" or data.dtype == torch.bfloat16:
        return data
    return data.detach().numpy()


def _pick(data: Any, item: Any) -> Any:
    """``data[item]``, also for plain lists, which know neither index lists nor masks."""
    if not isinstance(data, (list, tuple)) or isinstance(item, slice):
        return data[item]
    index = torch.as_tensor(item)
    if index.dtype == torch.bool:
        index = index.nonzero().flatten()
    return [data[i] for i in index.tolist()]
