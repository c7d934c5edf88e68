"""One process's share of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import torch
from torch.utils.data import Sampler


class DistributedSampler(Sampler[int]):
    """Contiguous share ``rank`` of ``num_replicas`` of the indices of a dataset.

    With ``shuffle`` the order is a permutation drawn from ``seed`` + epoch, the same in every process. With
    ``pad`` all shares have the same length and the last ones start again at the beginning of the order;
    without it every index belongs to exactly one share.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int = 1,
        rank: int = 0,
        shuffle: bool = True,
        seed: int = 0,
        pad: bool = True,
    ) -> None:
        self.length = len(dataset)
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        share = -(-self.length // num_replicas)
        self.first = share * rank
        self.last = self.first + share if pad else min(self.first + share, self.length)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = torch.arange(self.length)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(self.length, generator=generator)
        share = torch.arange(self.first, max(self.first, self.last))
        return iter(order[share % max(self.length, 1)].tolist())

    def __len__(self) -> int:
        return max(0, self.last - self.first)


def set_epoch(sampler: object, epoch: int) -> bool:
    """Chooses the epoch of a sampler that knows epochs; False where it does not."""
    choose = getattr(sampler, "set_epoch", None)
    if choose is None:
        return False
    choose(epoch)
    return True
