"""The regions of a padded batch, and in which of its slots the heads compute."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.structures.detections import to_rois


class Regions:
    """Regions over feature maps; every head is handed one, for its features and for its slots.

    A batch has N x R slots, of which `used` [N, R] hold a region. A head computes rows: one for each of the K
    slots in use where counting them is free, one for every slot elsewhere. `take` goes from slots to rows,
    `fill` from rows to slots; a head need not know which of the two it is.
    """

    def __init__(
        self, features: Sequence[Tensor], boxes: Tensor, used: Tensor, outer: Regions | None = None
    ) -> None:
        """`features`: L maps [N, C, Hl, Wl]; `boxes` [N, R, 4] xyxy. `outer`: see `leading`."""
        self.features = features
        self.boxes = boxes
        self.used = used
        self.outer = outer
        counts = counting_is_free(used) if outer is None else outer.index is not None
        # [K] into the N * R slots; None: all of them
        self.index: Tensor | None = used.flatten().nonzero().squeeze(1) if counts else None
        self._extracted: dict[nn.Module, Tensor] = {}

    def take(self, values: Tensor) -> Tensor:
        """The rows [K, ...] of `values` [N, R, ...]."""
        rows = values.flatten(0, 1)
        return rows if self.index is None else rows[self.index]

    def fill(self, rows: Tensor) -> Tensor:
        """The inverse of `take`: `rows` [K, ...] in their slots [N, R, ...].

        What stands in a slot that is not in use has no meaning.
        """
        if self.index is not None:
            full = rows.new_zeros((self.used.numel(), *rows.shape[1:]))
            rows = full.index_copy(0, self.index, rows)
        return rows.unflatten(0, (self.used.shape[0], self.used.shape[1]))

    def rois(self) -> Tensor:
        """Rows [K, 5] of (image, x1, y1, x2, y2); image -1 in a slot that is not in use."""
        rows = to_rois(self.boxes, self.used)
        return rows if self.index is None else rows[self.index]

    def leading(self, used: Tensor) -> Regions:
        """The first L regions of each image, of which `used` [N, L] count; all of those are in use here."""
        return Regions(self.features, self.boxes[:, : used.shape[1]], used, outer=self)

    def extract(self, extractor: nn.Module) -> Tensor:
        """extractor(features, rois), rows [K, ...].

        The rows are kept: heads that share an extractor run it once, also where one of them looks at the
        leading regions alone.
        """
        if extractor not in self._extracted:
            if self.outer is not None and extractor in self.outer._extracted:
                rows = self._rows_of_outer(self.outer._extracted[extractor])
            else:
                rows = extractor(self.features, self.rois())
            self._extracted[extractor] = rows
        return self._extracted[extractor]

    def _rows_of_outer(self, rows: Tensor) -> Tensor:
        """These regions' rows [K, ...] among those of `outer`."""
        assert self.outer is not None
        used, num_leading = self.outer.used, self.used.shape[1]
        if self.index is None:
            return rows.unflatten(0, (used.shape[0], used.shape[1]))[:, :num_leading].flatten(0, 1)
        row = (used.flatten().cumsum(0) - 1).view_as(used)[:, :num_leading]
        return rows[row.flatten()[self.index]]


def counting_is_free(values: Tensor) -> bool:
    """Whether entries of `values`, such as slots in use, can be counted at no cost.

    On a CPU counting is free and computing padding is not. On a GPU, and in a compiled or exported graph,
    counting would make the host wait or shapes vary: there all slots are computed.
    """
    return values.device.type == "cpu" and not torch.compiler.is_compiling()
