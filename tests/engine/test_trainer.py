"""The training loop: exact resume, accumulation, best checkpoint, records, precision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from engine.fake_run import FakeDetector, train
from torch import nn

from maskrcnn_benchmark.utils.data_fault import DataFault
from maskrcnn_benchmark.utils.metric_writers import read_metrics
from maskrcnn_benchmark.weights.checkpoint import read_checkpoint
from maskrcnn_benchmark.weights.provenance import provenance_of
from maskrcnn_benchmark.weights.sources.read import read_weights


def assert_same(first: object, second: object) -> None:
    """Bitwise equality of nested checkpoints."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_resume_is_exact(tmp_path: Path, dtype: str) -> None:
    """2N iterations equal N, a new start, and N more.

    Equal are weights, momentum, learning rate, random states and data order.
    """
    order_whole: list[int] = []
    order_parts: list[int] = []
    train(tmp_path / "whole", 10, dtype=dtype, checkpoint_period=5, log=order_whole)
    train(tmp_path / "parts", 5, dtype=dtype, log=order_parts)
    train(tmp_path / "parts", 10, resume=True, dtype=dtype, log=order_parts)
    whole = read_checkpoint(tmp_path / "whole" / "model_final.pth")
    parts = read_checkpoint(tmp_path / "parts" / "model_final.pth")
    assert whole["iteration"] == 10
    assert_same(whole, parts)
    # the loader is asked for no batch ahead, so the order can be compared as it is
    assert order_whole == order_parts == list(range(40))


def test_resume_from_a_periodic_checkpoint_after_a_crash(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", 10)[1]
    parts = tmp_path / "parts"
    train(parts, 8, checkpoint_period=6)
    (parts / "last_checkpoint").write_text("model_0000006.pth")  # as if killed in iteration 7 or 8
    assert_same(dict(train(parts, 10, resume=True)[1].state_dict()), dict(whole.state_dict()))
    iterations = [r["iteration"] for r in read_metrics(parts / "metrics.jsonl") if r["kind"] == "train"]
    assert iterations == [3, 6, 9, 10]


@pytest.mark.parametrize("steps", [1, 2])
def test_a_fault_of_the_data_leaves_a_checkpoint_from_before(tmp_path: Path, steps: int) -> None:
    """Continued once the data are mended, it is the run that never met the fault."""
    whole = train(tmp_path / "whole", 6, accumulation_steps=steps)[1]
    parts, fault = tmp_path / "parts", {"unreadable_image": 4 * steps * 5 - 1, "accumulation_steps": steps}
    with pytest.raises(
        DataFault, match=r"iteration 5: .*png: truncated\n.* model_0000004\.pth: mend .*resume"
    ):
        train(parts, 6, **fault)
    assert (parts / "last_checkpoint").read_text() == "model_0000004.pth"
    assert read_checkpoint(parts / "model_0000004.pth")["iteration"] == 4
    resumed = train(parts, 6, resume=True, accumulation_steps=steps)[1]
    assert_same(dict(resumed.state_dict()), dict(whole.state_dict()))


def test_a_fault_before_anything_was_done_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match=r"^iteration 1: 0\.png: truncated$"):
        train(tmp_path / "run", 6, unreadable_image=0)
    assert not list((tmp_path / "run").glob("*.pth"))


def test_a_fault_in_an_evaluation_leaves_a_checkpoint(tmp_path: Path) -> None:
    def evaluate(is_last: bool) -> dict[str, float]:
        raise DataFault("val.png: truncated")

    with pytest.raises(DataFault, match=r"evaluation after iteration 2: val\.png: truncated"):
        train(tmp_path / "run", 6, eval_period=2, evaluate=evaluate)
    assert (tmp_path / "run" / "model_0000002.pth").exists()


def test_evaluation_leaves_no_trace_in_the_random_numbers(tmp_path: Path) -> None:
    def evaluate(is_last: bool) -> dict[str, float]:
        torch.rand(5)
        return {"val/bbox/AP": 0.5}

    plain = train(tmp_path / "plain", 6)[1]
    watched = train(tmp_path / "watched", 6, eval_period=2, evaluate=evaluate)[1]
    assert_same(dict(plain.state_dict()), dict(watched.state_dict()))


@pytest.mark.parametrize("steps", [2, 4])
def test_accumulation_equals_the_big_batch(tmp_path: Path, steps: int) -> None:
    big = train(tmp_path / "big", 6, batch_size=8, noisy=False)[1]
    small = train(tmp_path / "small", 6, batch_size=8 // steps, accumulation_steps=steps, noisy=False)[1]
    torch.testing.assert_close(small.state_dict(), big.state_dict(), rtol=1e-5, atol=1e-6)
    records = [
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
        for name in ("big", "small")
    ]
    assert records[0]["loss"] == pytest.approx(records[1]["loss"], rel=1e-5)


def test_against_a_plain_loop(tmp_path: Path) -> None:
    """The same losses minimised with torch's own SGD, one group a parameter, at explicit learning rates."""
    from engine.fake_run import FakeLoader

    trained = train(tmp_path, 8, noisy=False)[1]
    torch.manual_seed(7)
    model = FakeDetector(noisy=False)
    groups = [
        {"params": [p], "weight_decay": 0.0 if name.endswith("bias") else 0.0005}
        for name, p in model.named_parameters()
    ]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, fused=False)
    batches = iter(FakeLoader(0, 4))
    for k in range(1, 9):
        warmup = (1 / 3) * (1 - k / 4) + k / 4 if k < 4 else 1.0
        lr = 0.05 * warmup * (0.1 if k >= 6 else 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr if group["weight_decay"] else 2 * lr
        images, targets, _ = next(batches)
        optimizer.zero_grad()
        sum(model(images, targets).values()).backward()
        optimizer.step()
    torch.testing.assert_close(trained.state_dict(), model.state_dict(), rtol=1e-5, atol=1e-6)


def test_best_and_last_checkpoints(tmp_path: Path) -> None:
    results = iter([0.2, 0.5, 0.3, 0.4, 0.6])

    def evaluate(is_last: bool) -> dict[str, float]:
        return {"val/bbox/AP": 0.9, "val/segm/AP": next(results)}

    train(tmp_path, 6, eval_period=2, checkpoint_period=2, evaluate=evaluate)
    best = read_checkpoint(tmp_path / "model_best.pth")
    assert (best["iteration"], best["results"]["val/segm/AP"]) == (4, 0.5)
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert sorted(p.name for p in tmp_path.glob("model_0*")) == ["model_0000002.pth", "model_0000004.pth"]
    published = [provenance_of(read_weights(tmp_path / f"model_{n}.safetensors")) for n in ("best", "final")]
    assert [(each.iteration, each.metrics["val/segm/AP"]) for each in published] == [(4, 0.5), (6, 0.3)]
    # a resumed run remembers what the best was: 0.4 at iteration 8 is not it, 0.6 at 10 is
    train(tmp_path, 8, eval_period=2, resume=True, evaluate=evaluate)
    assert read_checkpoint(tmp_path / "model_best.pth")["iteration"] == 4
    train(tmp_path, 10, eval_period=2, resume=True, evaluate=evaluate)
    assert read_checkpoint(tmp_path / "model_best.pth")["iteration"] == 10


def test_evaluates_at_the_end_only_without_a_period(tmp_path: Path) -> None:
    train(tmp_path, 5, evaluate=lambda is_last: {"val/bbox/AP": 0.25 * is_last})
    evaluations = [r for r in read_metrics(tmp_path / "metrics.jsonl") if r["kind"] == "evaluation"]
    assert [(r["iteration"], r["val/bbox/AP"]) for r in evaluations] == [(5, 0.25)]


def test_records_and_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="maskrcnn_benchmark"):
        train(tmp_path, 7)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [r["iteration"] for r in records] == [3, 6, 7]
    for record in records:
        for name in ("loss", "loss_box_reg", "loss_classifier", "lr", "grad_norm", "data_time"):
            assert isinstance(record[name], float)
        assert record["loss"] == pytest.approx(record["loss_box_reg"] + record["loss_classifier"], rel=1e-5)
        assert record["images_per_second"] > 0
        assert record["peak_rss"] > 10
    assert records[0]["lr"] == 0.05 * ((1 / 3) * (1 - 3 / 4) + 3 / 4)
    line = next(r.getMessage() for r in caplog.records if "iter: 3/7" in r.getMessage())
    for part in ("eta: 0:", "loss_box_reg: ", "lr: ", "images/s: ", "data: ", "peak RSS (CPU): "):
        assert part in line


def test_clip_grad_norm_bounds_the_step(tmp_path: Path) -> None:
    model = train(tmp_path, 1, clip_grad_norm=1e-6, noisy=False)[1]
    torch.manual_seed(7)
    start = FakeDetector()
    for trained, initial in zip(model.parameters(), start.parameters(), strict=True):
        # what is left is the weight decay: 0.05 * 0.5 * 0.0005 of the weight
        torch.testing.assert_close(trained, initial, rtol=2e-5, atol=1e-6)
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["grad_norm"] > 1e-3  # the norm before clipping


def test_keep_checkpoints(tmp_path: Path) -> None:
    train(tmp_path, 9, checkpoint_period=2, keep=2)
    names = sorted(p.name for p in tmp_path.glob("*.pth"))
    assert names == ["model_0000006.pth", "model_0000008.pth", "model_final.pth"]


def test_a_finished_run_resumed_does_nothing(tmp_path: Path) -> None:
    train(tmp_path, 4)
    before = (tmp_path / "model_final.pth").read_bytes()
    result, _ = train(tmp_path, 4, resume=True)
    assert (result.iteration, result.stopped_by) == (4, 0)
    assert (tmp_path / "model_final.pth").read_bytes() == before


def test_loader_that_ends_early_is_named(tmp_path: Path) -> None:
    from engine import fake_run

    class Short(fake_run.FakeLoader):
        def _batches(self):  # type: ignore[no-untyped-def]
            batches = super()._batches()
            yield from (next(batches) for _ in range(2))

    original = fake_run.FakeLoader
    fake_run.FakeLoader = Short  # type: ignore[misc]
    try:
        with pytest.raises(RuntimeError, match="ended in iteration 3 of 5"):
            train(tmp_path, 5)
    finally:
        fake_run.FakeLoader = original  # type: ignore[misc]


def test_models_without_gradient_exchange_need_no_context() -> None:
    from maskrcnn_benchmark.engine.weight_update import without_exchange

    with without_exchange(nn.Linear(1, 1)) as nothing:
        assert nothing is None


def test_family_call_trains_as_far_as_the_loader_is_long(tmp_path: Path) -> None:
    from engine.fake_run import FakeLoader

    from maskrcnn_benchmark.config import load_config
    from maskrcnn_benchmark.engine.trainer import do_train
    from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
    from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer

    cfg, model = load_config(), FakeDetector()
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    checkpointer = DetectronCheckpointer(cfg, model, optimizer, scheduler, tmp_path)
    batches = FakeLoader(0, 2)._batches()
    three = [next(batches) for _ in range(3)]
    do_train(model, three, optimizer, scheduler, checkpointer, "cpu", 2, {"iteration": 0})
    assert read_checkpoint(tmp_path / "model_final.pth")["iteration"] == 3
    assert (tmp_path / "model_0000002.pth").is_file()
