"""The part of every batch that one process works on in one backward pass."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from maskrcnn_benchmark.data.datasets.sample_key import SampleKey
from maskrcnn_benchmark.data.samplers.iteration_based_batch_sampler import IterationBasedBatchSampler


class ShareBatchSampler(Sampler[list[SampleKey]]):
    """Splits the batch of each optimizer step over accumulation steps and processes, and seeds its samples.

    The batch itself does not depend on how it is split, so a run gives the same samples in the same steps
    on one process or many, with accumulation or without. The steps of one optimizer step follow each other.
    """

    def __init__(
        self,
        batches: IterationBasedBatchSampler,
        batch_size: int,
        seed: int,
        accumulation_steps: int = 1,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        if batch_size % (num_replicas * accumulation_steps) != 0:
            raise ValueError(
                f"a batch of {batch_size} images cannot be split over {num_replicas} processes and "
                f"{accumulation_steps} accumulation steps"
            )
        self.batches = batches
        self.batch_size = batch_size
        self.seed = seed
        self.accumulation_steps = accumulation_steps
        self.num_replicas = num_replicas
        self.rank = rank

    def __iter__(self) -> Iterator[list[SampleKey]]:
        share = self.batch_size // (self.num_replicas * self.accumulation_steps)
        for iteration, batch in enumerate(self.batches, start=self.batches.start_iter):
            first_position = iteration * self.batch_size
            keys = [SampleKey(index, first_position + slot, self.seed) for slot, index in enumerate(batch)]
            for step in range(self.accumulation_steps):
                first = (step * self.num_replicas + self.rank) * share
                yield keys[first : first + share]

    def __len__(self) -> int:
        """Backward passes of the whole run, those before ``start_iter`` included, as the family counts."""
        return len(self.batches) * self.accumulation_steps
