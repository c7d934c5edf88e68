"""Which slots of a padded batch a head computes."""

from __future__ import annotations

import torch
from torch import Tensor


def slots_to_compute(used: Tensor) -> Tensor | None:
    """Flat indices of the slots in use [N, R], or None where every slot is to be computed.

    On a GPU, and in a compiled or exported graph, counting the used slots would make the host wait or shapes
    vary: there all are computed. On a CPU counting is free and computing padding is not.
    """
    if used.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    return used.flatten().nonzero().squeeze(1)


def take_slots(values: Tensor, index: Tensor | None) -> Tensor:
    """Rows `index` of `values` [N * R, ...]; all of them where `index` is None."""
    return values if index is None else values[index]


def take_leading_slots(values: Tensor, used: Tensor, num_leading: int, index: Tensor | None) -> Tensor:
    """Rows that belong to some of the first `num_leading` slots of each image.

    `values` [K, ...] were computed for the slots `used` [N, R]. `index`: which of the N * num_leading slots
    are wanted, all in use; None for all.
    """
    if index is None:
        return values.unflatten(0, (used.shape[0], used.shape[1]))[:, :num_leading].flatten(0, 1)
    row = (used.flatten().cumsum(0) - 1).view_as(used)[:, :num_leading]
    return values[row.flatten()[index]]


def fill_slots(values: Tensor, index: Tensor | None, shape: tuple[int, int]) -> Tensor:
    """The inverse of take_slots: `values` back in [N, R, ...], zeros in the slots that were left out."""
    if index is not None:
        full = values.new_zeros((shape[0] * shape[1], *values.shape[1:]))
        values = full.index_copy(0, index, values)
    return values.unflatten(0, shape)
