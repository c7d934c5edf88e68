"""Which annotated boxes are used, and how.

The rule: a box [x, y, width, height] becomes its corners [x, y, x + width - 1, y + height - 1] and is clipped
to the pixels of its image; what is then not wider and higher than one pixel is dropped. So a box of zero or
negative size and one outside the image are dropped, one that reaches over the border is clipped. All are
counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from maskrcnn_benchmark.data.datasets.validation import shorten

# COCO's own boxes are rounded to hundredths of a pixel: reaching over the border by less is no finding
CLIP_TOLERANCE = 0.5


@dataclass
class BoxCounts:
    """What was left out or changed, as annotation ids where a user may want to look."""

    crowds: list[int] = field(default_factory=list)
    short_polygons: int = 0
    fractions: bool = False  # whether no box has a value above 1
    not_positive: list[int] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)
    tiny: list[int] = field(default_factory=list)
    clipped: list[int] = field(default_factory=list)
    without_area: list[int] = field(default_factory=list)

    def describe(self) -> list[str]:
        """One line for each kind that occurred."""
        kinds = [
            (self.not_positive, "boxes of zero or negative size dropped"),
            (self.outside, "boxes outside their image dropped"),
            (self.tiny, "boxes of at most one pixel in width or height dropped"),
            (self.clipped, "boxes clipped to their image"),
            (self.without_area, "objects dropped, whose polygons have fewer than three vertices"),
        ]
        lines = [f"{len(ids)} {what} (annotations {shorten(ids)})" for ids, what in kinds if ids]
        if self.short_polygons:
            lines.append(f"{self.short_polygons} polygons of fewer than three vertices left out")
        if self.crowds:
            lines.append(f"{len(self.crowds)} crowds left out (annotations {shorten(self.crowds)})")
        return lines

    def mend(self) -> str:
        """What to do where all of this left no object."""
        dropped = [*self.not_positive, *self.outside, *self.tiny, *self.without_area]
        if self.fractions and dropped:
            return (
                "no value of any box is above 1, as where boxes are fractions of the image: multiply x and "
                "width by the image's width, y and height by its height"
            )
        if self.crowds and not dropped:
            return (
                "iscrowd 1 marks groups, which are not trained on, and CVAT writes it for every brush mask: "
                "write iscrowd 0 for single objects"
            )
        return "correct these annotations; boxes are [x, y, width, height] in pixels"


def apply_box_rule(
    boxes_xywh: NDArray[np.float64], sizes_wh: NDArray[np.int64], ids: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], BoxCounts]:
    """Corners of the boxes clipped to their images, [A, 4] float32, which to keep, [A], and the counts.

    boxes_xywh: [A, 4]; sizes_wh: [A, 2], width and height of each box's image; ids: for the counts.
    """
    boxes_xywh = boxes_xywh.astype(np.float32)  # the arithmetic of a BoxList
    first = boxes_xywh[:, :2]
    corners = np.concatenate([first, first + np.maximum(boxes_xywh[:, 2:] - 1, 0)], axis=1)
    limit = np.tile(sizes_wh - 1, 2).astype(np.float32)
    clipped = np.minimum(np.maximum(corners, 0), limit)
    keep = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)

    not_positive = (boxes_xywh[:, 2:] <= 0).any(axis=1)
    outside = ((corners[:, 2:] < 0) | (corners[:, :2] > limit[:, :2])).any(axis=1) & ~not_positive
    changed = (np.abs(clipped - corners) > CLIP_TOLERANCE).any(axis=1)

    def chosen(which: NDArray[np.bool_]) -> list[int]:
        return [ids[index] for index in np.flatnonzero(which).tolist()]

    counts = BoxCounts(
        not_positive=chosen(not_positive & ~keep),
        outside=chosen(outside & ~keep),
        tiny=chosen(~keep & ~not_positive & ~outside),
        clipped=chosen(keep & changed),
        fractions=len(boxes_xywh) > 0 and bool((boxes_xywh <= 1).all()),
    )
    return clipped, keep, counts
