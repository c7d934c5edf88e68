"""Which images make which batch: the family's numbers, and what must hold for any order."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import BatchSampler, SequentialSampler

from maskrcnn_benchmark.data.samplers import (
    DistributedSampler,
    GroupedBatchSampler,
    IterationBasedBatchSampler,
    ShareBatchSampler,
)

GOLDEN = json.loads((Path(__file__).parent / "fixtures" / "samplers.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["grouped"])
def test_golden_groups(case: dict) -> None:
    sampler = GroupedBatchSampler(
        case["sampler_order"], case["group_ids"], case["batch_size"], drop_uneven=case["drop_uneven"]
    )
    assert list(sampler) == case["batches"]
    assert len(sampler) == case["length"]


class RecordedGroups(GroupedBatchSampler):
    """Remembers the epochs it was set to."""

    def set_epoch(self, epoch: int) -> None:
        self.__dict__.setdefault("epochs", []).append(epoch)


class RecordedOrder(list[int]):
    """A sampler of a fixed order that remembers the epochs it was set to."""

    def __init__(self, order: list[int]) -> None:
        super().__init__(order)
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


@pytest.mark.parametrize("case", GOLDEN["iteration"])
def test_golden_iterations_over_torchs_batch_sampler(case: dict) -> None:
    order = RecordedOrder(case["sampler_order"])
    batches = BatchSampler(order, case["batch_size"], case["drop_last"])
    sampler = IterationBasedBatchSampler(batches, case["num_iterations"], case["start_iter"])
    assert list(sampler) == case["batches"]
    assert len(sampler) == case["length"]
    if case["batches"]:  # the family also sets an epoch it then takes nothing from
        assert order.epochs == [e for e in case["set_epoch_calls"] if e < case["num_iterations"]]


@pytest.mark.parametrize("batch_size", [2, 3, 4])
@pytest.mark.parametrize("num_iterations", [4, 10, 20])
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_plain_order_starts_again_after_its_end(
    batch_size: int, num_iterations: int, drop_last: bool
) -> None:
    """Over torch's samplers, which know no epochs."""
    batches = BatchSampler(SequentialSampler(range(10)), batch_size, drop_last)
    epoch = [list(range(first, min(first + batch_size, 10))) for first in range(0, 10, batch_size)]
    if drop_last and len(epoch[-1]) < batch_size:
        epoch.pop()
    expected = (epoch * num_iterations)[:num_iterations]
    sampler = IterationBasedBatchSampler(batches, num_iterations)
    assert len(sampler) == num_iterations
    assert list(sampler) == expected
    assert list(IterationBasedBatchSampler(batches, num_iterations, start_iter=3)) == expected[3:]


@pytest.mark.parametrize("case", [case for case in GOLDEN["iteration"] if not case["drop_last"]])
def test_golden_iterations(case: dict) -> None:
    order = case["sampler_order"]
    groups = RecordedGroups(order, [0] * len(order), case["batch_size"])
    sampler = IterationBasedBatchSampler(groups, case["num_iterations"], case["start_iter"])
    assert list(sampler) == case["batches"]
    assert len(sampler) == case["length"]
    if case["batches"]:  # the family also sets an epoch it then takes nothing from
        assert groups.epochs == [e for e in case["set_epoch_calls"] if e < case["num_iterations"]]


@pytest.mark.parametrize("case", GOLDEN["distributed"])
def test_golden_shares(case: dict) -> None:
    for rank, indices in enumerate(case["indices_per_rank"]):
        sampler = DistributedSampler(range(case["n"]), case["num_replicas"], rank, case["shuffle"])
        sampler.set_epoch(case["epoch"])
        assert list(sampler) == indices
        assert len(sampler) == len(indices)


@pytest.mark.parametrize(("length", "replicas"), [(10, 3), (7, 2), (2, 4), (0, 2), (8, 4)])
def test_without_padding_every_index_lies_in_one_share(length: int, replicas: int) -> None:
    shares = [
        DistributedSampler(range(length), replicas, rank, shuffle=False, pad=False)
        for rank in range(replicas)
    ]
    assert sorted(index for share in shares for index in share) == list(range(length))
    assert [len(list(share)) for share in shares] == [len(share) for share in shares]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 16])
@pytest.mark.parametrize("num_images", [1, 11, 32])
def test_joined_batches_are_full_and_show_every_image(batch_size: int, num_images: int) -> None:
    groups = torch.arange(num_images) % 3 == 0
    sampler = GroupedBatchSampler(
        DistributedSampler(range(num_images)), groups.long(), batch_size, join_uneven=True
    )
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == -(-num_images // batch_size)
        assert {len(batch) for batch in batches} == {batch_size}
        seen = Counter(index for batch in batches for index in batch)
        assert set(seen) == set(range(num_images))
        assert sum(seen.values()) - num_images < batch_size
        mixed = sum(len({bool(groups[index]) for index in batch}) > 1 for batch in batches)
        assert mixed <= 2  # only what is left over mixes the groups


def run(start: int, replicas: int = 1, rank: int = 0, accumulation: int = 1, seed: int = 5) -> list[list]:
    """What one process of a run over 23 images, 4 a step, 20 steps, is asked to load."""
    groups = GroupedBatchSampler(
        DistributedSampler(range(23), seed=seed), [int(i % 3 == 0) for i in range(23)], 4, join_uneven=True
    )
    iterations = IterationBasedBatchSampler(groups, 20, start)
    return list(ShareBatchSampler(iterations, 4, seed, accumulation, replicas, rank))


@pytest.mark.parametrize("start", [0, 1, 5, 6, 13, 19, 20])
def test_a_run_entered_anywhere_continues_the_same(start: int) -> None:
    assert run(start) == run(0)[start:]


def test_the_split_over_processes_and_steps_changes_no_batch() -> None:
    whole = run(0)
    assert len({key for batch in whole for key in batch}) == 80  # no two samples share their key
    two = [run(0, replicas=2, rank=rank) for rank in range(2)]
    assert [first + second for first, second in zip(*two, strict=True)] == whole
    steps = run(0, accumulation=2)
    assert [steps[2 * k] + steps[2 * k + 1] for k in range(20)] == whole
    both = [run(3, replicas=2, rank=rank, accumulation=2) for rank in range(2)]
    joined = [first + second for first, second in zip(*both, strict=True)]
    assert [joined[2 * k] + joined[2 * k + 1] for k in range(17)] == whole[3:]


def test_seeds_and_epochs_change_the_order() -> None:
    whole = [key.image for batch in run(0) for key in batch]
    assert whole[:24] != whole[24:48]
    assert whole != [key.image for batch in run(0, seed=6) for key in batch]


def test_a_batch_that_cannot_be_split_is_refused() -> None:
    with pytest.raises(ValueError, match="3 processes"):
        run(0, replicas=3)


def test_no_images_give_an_error_instead_of_an_endless_loop() -> None:
    empty = GroupedBatchSampler(DistributedSampler(range(3)), [0, 0, 1], 4, drop_uneven=True)
    with pytest.raises(ValueError, match="no batch"):
        list(IterationBasedBatchSampler(empty, 5))
