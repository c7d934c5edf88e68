"""Properties of the balanced sampler: counts, order, no repetition, no favourites."""

from __future__ import annotations

import pytest
import torch

from maskrcnn_benchmark.modeling.sampler import BalancedSampler, sample_labels


@pytest.mark.parametrize(
    ("num_positive", "num_negative", "num_ignored", "expected_positive", "expected_negative"),
    [
        (100, 1000, 50, 16, 48),  # both in plenty: a quarter is positive
        (5, 1000, 0, 5, 59),  # negatives fill what positives leave
        (100, 10, 20, 16, 10),  # positives never exceed their share
        (0, 200, 7, 0, 64),
        (0, 0, 30, 0, 0),
        (3, 0, 0, 3, 0),
    ],
)
def test_counts_and_order(
    num_positive: int, num_negative: int, num_ignored: int, expected_positive: int, expected_negative: int
) -> None:
    labels = torch.cat(
        [torch.full((num_positive,), 7), torch.zeros(num_negative), torch.full((num_ignored,), -1)]
    ).long()
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))].repeat(2, 1)
    sampler = BalancedSampler(batch_size=64, positive_fraction=0.25)
    index, used = sampler(labels)
    drawn = sample_labels(labels, index, used)
    assert index.shape == (2, min(64, labels.shape[1]))
    for row in range(2):
        assert (drawn[row] > 0).sum() == expected_positive
        assert (drawn[row] == 0).sum() == expected_negative
        assert len(set(index[row][used[row]].tolist())) == expected_positive + expected_negative, "none twice"
        assert (drawn[row][:expected_positive] > 0).all(), "positives come first"
        assert (drawn[row][expected_positive + expected_negative :] == -1).all(), "unused slots come last"


def test_every_candidate_is_as_likely() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([[1] * 8 + [0] * 32])
    sampler = BalancedSampler(batch_size=16, positive_fraction=0.25)
    counts = torch.zeros(40)
    for _ in range(2000):
        index, used = sampler(labels)
        counts[index[used]] += 1
    assert counts[:8] / 2000 == pytest.approx([4 / 8] * 8, abs=0.05)
    assert counts[8:] / 2000 == pytest.approx([12 / 32] * 32, abs=0.05)
