"""Epoch after epoch of batches, counted in iterations and entered at any of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

from torch.utils.data import Sampler

from maskrcnn_benchmark.data.samplers.distributed import set_epoch


class SizedBatches(Protocol):
    """A batch sampler: `GroupedBatchSampler`, torch's `BatchSampler`, or a user's own."""

    @property
    def sampler(self) -> Iterable[int]: ...

    def __iter__(self) -> Iterator[list[int]]: ...

    def __len__(self) -> int: ...


class IterationBasedBatchSampler(Sampler[list[int]]):
    """The batches of iterations ``start_iter`` to ``num_iterations`` - 1 of an endless run of epochs.

    An epoch is numbered by the iteration it starts at, and that number is set on the batch sampler or, where
    it knows no epochs, on the sampler below it. Since every epoch has as many batches as the first, a run
    entered in the middle of one gets exactly the batches that an uninterrupted run would.
    """

    def __init__(self, batch_sampler: SizedBatches, num_iterations: int, start_iter: int = 0) -> None:
        self.batch_sampler = batch_sampler
        self.num_iterations = num_iterations
        self.start_iter = start_iter

    def __iter__(self) -> Iterator[list[int]]:
        per_epoch = len(self.batch_sampler)
        if per_epoch == 0:
            raise ValueError(
                "the dataset gives no batch: it has no images, or fewer than a batch of each group"
            )
        iteration = self.start_iter
        while iteration < self.num_iterations:
            passed = iteration % per_epoch
            if not set_epoch(self.batch_sampler, iteration - passed):
                set_epoch(self.batch_sampler.sampler, iteration - passed)
            for batch in islice(self.batch_sampler, passed, None):
                if iteration == self.num_iterations:
                    return
                yield batch
                iteration += 1

    def __len__(self) -> int:
        return self.num_iterations
