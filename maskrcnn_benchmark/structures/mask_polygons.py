"""Polygons that rasterise to exactly the pixels of a mask.

A mask is read as runs of pixels in its columns (COCO's run lengths are just that). The k-th run of a
column and the k-th run of the next column belong to one polygon: its upper border goes along the tops
from left to right, its lower one back along the bottoms. Holes need no special case (a column through a
hole has two runs), the corners lie on pixel corners, and the union of the polygons is the mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


def rle_to_polygons(rle: dict[str, Any], size: tuple[int, int]) -> list[NDArray[np.float32]]:
    """Polygons [vertices, 2] of a COCO run length, compressed (bytes, str) or not (list of counts).

    Raises ValueError where its size is not that of the image, ``size`` (width, height).
    """
    height, width = rle["size"]
    if (width, height) != (int(size[0]), int(size[1])):
        raise ValueError(
            f"run length of height x width {height} x {width} in an image of {size[1]} x {size[0]}"
        )
    if isinstance(rle["counts"], list):
        rle = coco_mask.frPyObjects(rle, height, width)
    return _column_polygons(coco_mask.decode(rle))


def mask_to_polygons(mask: NDArray[Any], size: tuple[int, int]) -> list[NDArray[np.float32]]:
    """Polygons [vertices, 2] of a binary mask [height, width]; ValueError for a shape not the image's."""
    if mask.shape != (int(size[1]), int(size[0])):
        raise ValueError(
            f"mask of height x width {mask.shape[0]} x {mask.shape[1]} in an image of {size[1]} x {size[0]}"
        )
    return _column_polygons(mask != 0)


def _column_polygons(mask: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Chain the column runs of a mask [H, W] into polygons."""
    columns, tops, bottoms = _column_runs(mask)
    if len(columns) == 0:
        return []
    first_of_column = np.searchsorted(columns, columns, side="left")
    rank = np.arange(len(columns)) - first_of_column
    order = np.lexsort((columns, rank))
    columns, tops, bottoms, rank = columns[order], tops[order], bottoms[order], rank[order]
    new_chain = (np.diff(rank) != 0) | (np.diff(columns) != 1)
    cuts = np.flatnonzero(new_chain) + 1
    return [
        _outline(*chain)
        for chain in zip(np.split(columns, cuts), np.split(tops, cuts), np.split(bottoms, cuts), strict=True)
    ]


def _column_runs(mask: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Column, first row and end row of every run, by column and then by row."""
    framed = np.pad(np.asarray(mask, dtype=np.int8).T, ((0, 0), (1, 1)))
    steps = np.diff(framed, axis=1)
    columns, tops = np.nonzero(steps == 1)
    bottoms = np.nonzero(steps == -1)[1]
    return columns, tops, bottoms


def _outline(
    columns: NDArray[np.int64], tops: NDArray[np.int64], bottoms: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Vertices of one chain of runs in neighbouring columns, without those inside straight borders."""
    upper = _staircase(columns, tops)
    lower = _staircase(columns, bottoms)
    return np.concatenate([upper, lower[::-1]]).astype(np.float32)


def _staircase(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Corners from left to right of a border that lies at ``rows[i]`` over column ``columns[i]``."""
    turns = np.flatnonzero(np.diff(rows)) + 1
    starts = np.concatenate([[0], turns])
    ends = np.concatenate([turns, [len(rows)]])
    x = np.stack([columns[0] + starts, columns[0] + ends], axis=1)
    y = np.stack([rows[starts], rows[starts]], axis=1)
    return np.stack([x.reshape(-1), y.reshape(-1)], axis=1)
