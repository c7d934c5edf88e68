"""Losses as sums and counts, and the one place where they become means over all processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.utils import comm


class LossSum(NamedTuple):
    """A loss summed over what this process took part in, and how many entries the sum is over."""

    total: Tensor  # 0-dim, with its graph
    num_entries: Tensor  # 0-dim


LossSums = dict[str, LossSum]


def mean_losses(sums: Mapping[str, LossSum]) -> dict[str, Tensor]:
    """Each loss as a mean over all processes, 0-dim: the total divided by `comm.mean_count` of its entries.

    All numbers of entries travel in one collective, in the order of `sums`, which every process must share.
    Where nothing was counted in any process the loss is zero, with its graph.
    """
    counts = comm.mean_count(torch.stack([each.num_entries for each in sums.values()]))
    return {
        name: each.total / count for (name, each), count in zip(sums.items(), counts.unbind(), strict=True)
    }
