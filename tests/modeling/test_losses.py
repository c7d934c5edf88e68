"""Sums and counts become means over all processes, in one collective a step."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from modeling.test_c4 import SMALL, build, targets
from torch import Tensor

from maskrcnn_benchmark.modeling.losses import LossSum, mean_losses
from maskrcnn_benchmark.utils import comm


class OtherProcess:
    """Stands in for a second process: `all_reduce` adds what that one brings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *brings: Tensor) -> None:
        self.brings = list(brings)
        self.asked: list[tuple[int, ...]] = []
        monkeypatch.setattr(comm, "get_world_size", lambda: 2)
        for name in ("all_reduce", "all_gather", "all_gather_object", "broadcast", "reduce", "barrier"):
            monkeypatch.setattr(dist, name, self.refuse)
        monkeypatch.setattr(dist, "all_reduce", self.all_reduce)

    def all_reduce(self, tensor: Tensor) -> None:
        self.asked.append(tuple(tensor.shape))
        tensor += self.brings.pop(0) if self.brings else tensor.clone()

    def refuse(self, *_: object) -> None:
        raise AssertionError("a collective that is not expected")


def sums_of(*pairs: tuple[float, int]) -> dict[str, LossSum]:
    return {f"loss_{i}": LossSum(torch.tensor(t), torch.tensor(n)) for i, (t, n) in enumerate(pairs)}


def test_one_process_divides_sum_by_count() -> None:
    means = mean_losses(sums_of((6.0, 4), (0.0, 0), (5.0, 1)))
    assert {name: mean.item() for name, mean in means.items()} == {"loss_0": 1.5, "loss_1": 0, "loss_2": 5}
    assert all(mean.shape == () and mean.dtype == torch.float32 for mean in means.values())


@pytest.mark.parametrize("ours", [(6.0, 4), (0.0, 0)])
@pytest.mark.parametrize("theirs", [(10.0, 12), (3.0, 1), (0.0, 0)])
def test_the_mean_of_two_processes_is_that_of_all_their_entries(
    ours: tuple[float, int], theirs: tuple[float, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients are averaged over the processes, and so are losses: together that is the mean of all."""
    counts = [torch.tensor([float(count)]) for _, count in (theirs, ours)]
    other = OtherProcess(monkeypatch, *counts)
    both = [mean_losses(sums_of(pair))["loss_0"].item() for pair in (ours, theirs)]
    expected = (ours[0] + theirs[0]) / max(ours[1] + theirs[1], 1)
    assert sum(both) / 2 == pytest.approx(expected, rel=1e-6)
    assert other.asked == [(1,), (1,)]


@pytest.mark.parametrize("num_objects", [(2, 1), (0, 0)])
def test_a_training_step_has_one_collective(
    num_objects: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(SMALL).train()
    images = [torch.zeros(3, 64, 96, dtype=torch.uint8), torch.zeros(3, 80, 72, dtype=torch.uint8)]
    torch.manual_seed(0)
    alone = model(images, targets(num_objects))
    other = OtherProcess(monkeypatch)  # which has drawn the same
    torch.manual_seed(0)
    losses = model(images, targets(num_objects))
    assert other.asked == [(len(losses),)] == [(5,)]
    for name, loss in losses.items():
        assert loss == alone[name], f"{name}: two processes alike are as one"


def test_the_gradient_is_that_of_the_total() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    losses = mean_losses({"loss_x": LossSum((x * x).sum(), torch.tensor(4))})
    losses["loss_x"].backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.5, 1.0]
