"""A non-finite loss stops the run: what it says, what it leaves alone, and the file that replays it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from engine.fake_run import FakeDetector, train

from maskrcnn_benchmark.engine.loss_monitor import LossMonitor, NonFiniteLoss, Step
from maskrcnn_benchmark.engine.precision import FLOAT32
from maskrcnn_benchmark.engine.replay import NonFiniteLossError, describe_boxes, load_batch, replay
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.weights.checkpoint import read_checkpoint

CPU = torch.device("cpu")


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_run_stops_and_says_where(tmp_path: Path, accumulation_steps: int) -> None:
    # batches of 4: image 17 is in the fifth batch
    iteration = 5 if accumulation_steps == 1 else 3
    with pytest.raises(NonFiniteLossError) as caught:
        train(tmp_path, 9, broken_image=17, accumulation_steps=accumulation_steps, log_period=100)
    message = str(caught.value)
    assert f"iteration {iteration}," in message
    assert "loss_box_reg nan" in message
    assert "loss_classifier 0." in message or "loss_classifier 1." in message
    assert "rate 0.05" in message or "rate 0.0" in message
    for image in range(1016, 1020):
        assert f"image {image}: 16 x 16" in message
    assert "image 1017: 16 x 16, 3 boxes, widths 5 to 7, heights 7 to 7, labels [99]" in message
    assert caught.value.replay_file.name == f"nonfinite_{iteration:07d}_rank0.pth"


def test_file_replays_the_batch_with_the_weights_before_it(tmp_path: Path) -> None:
    train(tmp_path / "sound", 4)
    with pytest.raises(NonFiniteLossError):
        train(tmp_path / "broken", 9, broken_image=17)
    path = tmp_path / "broken" / "nonfinite_0000005_rank0.pth"
    saved = read_checkpoint(path)
    before = read_checkpoint(tmp_path / "sound" / "model_final.pth")["model"]
    assert all(torch.equal(saved["model"][name], before[name]) for name in before)
    images, targets, indices = load_batch(saved["batches"][0])
    assert indices == (16, 17, 18, 19)
    assert images.tensors.dtype == torch.uint8
    assert len(targets[1].get_field("masks")) == 3
    # anomaly detection names the operation, and warns with the line it came from
    with pytest.raises(RuntimeError, match="returned nan"), pytest.warns(UserWarning, match="Error detected"):
        replay(FakeDetector(), path, CPU, FLOAT32)
    # the same random numbers: without the broken box the replay gives the other loss to the last bit
    saved["batches"][0]["targets"][1]["fields"]["labels"].fill_(1)
    torch.save(saved, path)
    values = replay(FakeDetector(), path, CPU, FLOAT32)
    assert values["loss_classifier"] == saved["values"]["loss_classifier"]


def test_a_non_finite_gradient_stops_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maskrcnn_benchmark.engine import weight_update

    monkeypatch.setattr(weight_update, "clip_gradients", lambda optimizer, norm: torch.tensor(float("inf")))
    with pytest.raises(NonFiniteLossError, match=r"non-finite gradient.*in iteration 1"):
        train(tmp_path, 3)


def test_float16_stops_when_no_scale_is_small_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.amp.GradScaler, "get_scale", lambda self: 1e-4)
    with pytest.raises(RuntimeError, match="DTYPE bfloat16"):
        train(tmp_path, 6, dtype="float16")


def test_monitor_reads_late_and_freezes_the_weights_meanwhile() -> None:
    """The order of events on a GPU, where losses are read two iterations later."""
    monitor = LossMonitor(CPU)
    monitor.lag = 2
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=True)
    history = []
    read: list[int] = []
    with pytest.raises(NonFiniteLoss) as caught:
        for iteration in range(1, 10):
            step = Step(iteration, 0.1, {})
            loss = weight.sum() * (torch.nan if iteration == 4 else 1.0)
            optimizer.zero_grad()
            monitor.guard(loss).backward()
            norm = weight.grad.norm()  # type: ignore[union-attr]
            read += [s.iteration for s in monitor.watch(step, {"loss": loss}, norm, stop=False)]
            optimizer.found_inf = monitor.skip_update  # type: ignore[attr-defined]
            optimizer.step()
            history.append(weight.detach().clone())
    assert caught.value.step.iteration == 4
    assert read == [1, 2, 3]
    assert len(history) == 5  # iterations 4 and 5 were through before 4 was read
    assert not torch.equal(history[1], history[2])
    assert torch.equal(history[2], history[3])
    assert torch.equal(history[2], history[4])


def test_a_loss_that_is_infinite_with_finite_gradients_is_guarded() -> None:
    monitor = LossMonitor(CPU)
    weight = torch.nn.Parameter(torch.ones(3))
    monitor.guard(weight.sum() + torch.inf).backward()
    assert weight.grad is not None
    assert weight.grad.isnan().all()


def test_boxes_that_are_none_are_pointed_out() -> None:
    target = BoxList([[0, 0, 4, 4], [3, 3, 1, 9], [0, 0, float("nan"), 2]], (20, 10))
    assert "2 OF THEM NOT FINITE OR OF NO SIZE" in describe_boxes(target)
    assert describe_boxes(BoxList([], (20, 10))) == "20 x 10, no boxes"
