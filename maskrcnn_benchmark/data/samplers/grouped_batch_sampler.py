"""Batches of images of one group (wide or tall), so that little padding is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler

from maskrcnn_benchmark.data.samplers.distributed import set_epoch


class GroupedBatchSampler(Sampler[list[int]]):
    """Batches from a sampler's order, each within one group, in the order of their first elements.

    What is left of a group at the end of an epoch makes a smaller batch; ``drop_uneven`` leaves it out;
    ``join_uneven`` joins the remainders of all groups to full batches, the last one filled up from the
    beginning of the order, so that every batch is full and every image is seen.
    """

    def __init__(
        self,
        sampler: Sampler[int] | Sequence[int],
        group_ids: Tensor | Sequence[int],
        batch_size: int,
        drop_uneven: bool = False,
        join_uneven: bool = False,
    ) -> None:
        self.sampler = sampler
        self.group_ids = torch.as_tensor(group_ids)
        self.batch_size = batch_size
        self.drop_uneven = drop_uneven
        self.join_uneven = join_uneven

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the sampler below."""
        set_epoch(self.sampler, epoch)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.sampler)
        waiting: dict[int, list[int]] = {}
        batches: list[list[int]] = []
        # positions in the order, which tell which batch comes first
        for position, group in enumerate(self.group_ids[order].tolist()):
            bucket = waiting.setdefault(group, [])
            bucket.append(position)
            if len(bucket) == self.batch_size:
                batches.append(waiting.pop(group))
        rest = sorted(waiting.values())
        if self.join_uneven:
            rest = self._join(rest, len(order))
        if not self.drop_uneven:
            batches.extend(rest)
        batches.sort(key=lambda batch: batch[0])
        return iter([[order[position] for position in batch] for batch in batches])

    def _join(self, rest: list[list[int]], length: int) -> list[list[int]]:
        joined = [position for batch in rest for position in batch]
        missing = -len(joined) % self.batch_size
        joined += [position % length for position in range(missing)]
        return [joined[first : first + self.batch_size] for first in range(0, len(joined), self.batch_size)]

    def __len__(self) -> int:
        """Batches of an epoch; where the sampler gives a part of the dataset, of its present epoch."""
        counts = torch.bincount(self.group_ids[list(self.sampler)] - self.group_ids.min())
        if self.join_uneven:
            return int(-(-counts.sum() // self.batch_size))
        if self.drop_uneven:
            return int((counts // self.batch_size).sum())
        return int((-(-counts // self.batch_size)).sum())
