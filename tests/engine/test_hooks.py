"""Training hooks: when they are called, with what, how they stop a run, and what a resumed run remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine.fake_run import train

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.engine.best import choose_deciding
from maskrcnn_benchmark.engine.builtin_hooks import EarlyStopping, make_hooks
from maskrcnn_benchmark.engine.hooks import HOOKS, Hook, Hooks, TrainState
from maskrcnn_benchmark.engine.replay import NonFiniteLossError
from maskrcnn_benchmark.structures.evaluation import AP_DECIDES, Deciding
from maskrcnn_benchmark.utils.metric_writers import Record, read_metrics
from maskrcnn_benchmark.weights.checkpoint import read_checkpoint


class Diary(Hook):
    """Notes every call; may ask for the end at one of them."""

    def __init__(self, stop_at: str = "") -> None:
        self.calls: list[str] = []
        self.states: list[TrainState] = []
        self.records: list[Record] = []
        self.stop_at = stop_at

    def note(self, moment: str, state: TrainState) -> None:
        self.calls.append(f"{moment} {state.iteration}")
        self.states.append(state)
        if self.calls[-1] == self.stop_at:
            state.request_stop("enough")

    def on_start(self, state: TrainState) -> None:
        self.note("start", state)

    def after_iteration(self, state: TrainState, record: Record | None) -> None:
        self.note("iteration", state)
        self.records += [] if record is None else [record]

    def after_evaluation(self, state: TrainState, results: Mapping[str, float]) -> None:
        self.note(f"evaluation {results['val/bbox/AP']}", state)

    def on_end(self, state: TrainState) -> None:
        self.note("end", state)

    def on_error(self, state: TrainState, error: BaseException) -> None:
        self.note(f"error {type(error).__name__}", state)


class Counter(Hook):
    """Counts iterations over all starts of a run."""

    count = 0

    def after_iteration(self, state: TrainState, record: Record | None) -> None:
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.count = state_dict["count"]


def scores(*values: float) -> Callable[[bool], dict[str, float]]:
    """An evaluation that gives these APs, one a call."""
    left = iter(values)
    return lambda is_last: {"val/bbox/AP": next(left)}


def test_moments_and_what_they_see(tmp_path: Path) -> None:
    diary = Diary()
    model = train(tmp_path, 4, eval_period=2, evaluate=scores(0.1, 0.2), hooks=[diary])[1]
    assert diary.calls == [
        *("start 0", "iteration 1", "iteration 2", "evaluation 0.1 2"),
        *("iteration 3", "iteration 4", "evaluation 0.2 4", "end 4"),
    ]
    first, second = diary.states[:2]
    assert (first.max_iter, first.lr, first.output_dir) == (4, 0.0, tmp_path)
    assert second.model is model and second.lr == 0.05 * ((1 / 3) * (1 - 1 / 4) + 1 / 4)
    # the records of the log lines, as the file has them
    written = [r for r in read_metrics(tmp_path / "metrics.jsonl") if r["kind"] == "train"]
    assert [record["iteration"] for record in diary.records] == [3, 4]
    assert diary.records == written
    with pytest.raises(AttributeError):
        first.iteration = 3  # type: ignore[misc]


def test_an_error_is_told_and_raised_again(tmp_path: Path) -> None:
    diary = Diary()
    with pytest.raises(NonFiniteLossError):
        train(tmp_path, 9, broken_image=9, hooks=[diary])
    assert diary.calls == ["start 0", "iteration 1", "iteration 2", "error NonFiniteLossError 2"]


@pytest.mark.parametrize(
    ("stop_at", "last"), [("start 0", 0), ("iteration 1", 2), ("evaluation 0.2 4", 4), ("iteration 6", 6)]
)
def test_a_hook_ends_the_run(tmp_path: Path, stop_at: str, last: int) -> None:
    """At once, or after the iteration that follows; the run is complete and equals one of that length."""
    diary = Diary(stop_at)
    evaluate = scores(0.1, 0.2, 0.3)
    result, model = train(tmp_path / "early", 6, eval_period=2, evaluate=evaluate, hooks=[diary])
    assert (result.iteration, result.stopped_by) == (last, 0)
    assert result.stopped_early == ("enough" if last < 6 else "")
    assert diary.calls[-1] == f"end {last}"
    final = read_checkpoint(tmp_path / "early" / "model_final.pth")
    assert final["iteration"] == last
    whole = train(tmp_path / "whole", max(last, 1))[1] if last else None
    for name, tensor in (whole.state_dict() if whole else {}).items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_state_of_a_hook_is_in_the_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, 4, hooks=[Counter()])
    counter = Counter()
    train(tmp_path, 7, resume=True, hooks=[Diary(), counter])
    assert counter.count == 7
    assert read_checkpoint(tmp_path / "model_final.pth")["hooks"] == {"Counter": {"count": 7}}


def test_two_hooks_of_a_class_have_states_of_their_own(tmp_path: Path) -> None:
    first, second = Counter(), Counter()
    second.count = 10
    train(tmp_path, 2, hooks=[first, Diary(), second])
    first, second, third = Counter(), Counter(), Counter()
    train(tmp_path, 3, resume=True, hooks=[Diary(), first, second, third])
    assert (first.count, second.count, third.count) == (3, 13, 1)
    kept = read_checkpoint(tmp_path / "model_final.pth")["hooks"]
    assert kept == {"Counter": {"count": 3}, "Counter 2": {"count": 13}, "Counter 3": {"count": 1}}


def test_a_checkpoint_by_class_names_alone_still_loads() -> None:
    counter = Counter()
    Hooks([Diary(), counter]).load_state_dict({"Counter": {"count": 5}})
    assert counter.count == 5


APS = (0.2, 0.3, 0.3, 0.25, 0.4, 0.5)  # an evaluation every two iterations; the best so far is the second


@pytest.mark.parametrize(("patience", "last"), [(1, 6), (2, 8), (3, 12)])
def test_early_stopping_counts_evaluations_without_a_better_ap(
    tmp_path: Path, patience: int, last: int
) -> None:
    result, _ = train(tmp_path, 12, eval_period=2, evaluate=scores(*APS), hooks=[EarlyStopping(patience)])
    assert result.iteration == last
    assert bool(result.stopped_early) == (last < 12)
    assert read_checkpoint(tmp_path / "model_best.pth")["iteration"] == (4 if last < 12 else 12)


@pytest.mark.parametrize("stopped_at", [3, 4, 6, 7])
def test_a_resumed_run_stops_early_where_the_whole_one_does(tmp_path: Path, stopped_at: int) -> None:
    """Wherever it was interrupted; and a run that has ended early, resumed, trains nothing more."""
    folder = tmp_path / "parts"
    train(folder, 12, eval_period=2, checkpoint_period=1, evaluate=scores(*APS), hooks=[EarlyStopping(2)])
    whole = read_checkpoint(folder / "model_final.pth")
    assert whole["iteration"] == 8
    (folder / "last_checkpoint").write_text(f"model_{stopped_at:07d}.pth")  # as if killed later
    left = APS[stopped_at // 2 :]
    for expected in ("interrupted", "ended"):
        result, _ = train(
            folder, 12, resume=True, eval_period=2, evaluate=scores(*left), hooks=[EarlyStopping(2)]
        )
        assert result.iteration == 8 and result.stopped_early, expected
        parts = read_checkpoint(folder / "model_final.pth")
        assert parts["iteration"] == 8
        assert all(torch.equal(tensor, parts["model"][name]) for name, tensor in whole["model"].items())
        left = ()


ERRORS = (5.0, 3.0, 3.0, -1.0, 4.0, 2.0)  # -1: there was nothing to find


@pytest.mark.parametrize("resume", [False, True])
def test_an_evaluator_of_its_own_decides(tmp_path: Path, resume: bool) -> None:
    """A number that should be low keeps the best checkpoint and stops the run, also over a resume."""
    deciding = Deciding(("age/error",), higher_is_better=False)
    left = iter(ERRORS)
    evaluate = lambda is_last: {"val/bbox/AP": 0.5, "val/age/error": next(left)}  # noqa: E731
    for last in (6, 12) if resume else (12,):
        result, _ = train(
            tmp_path,
            last,
            resume=last == 12 and resume,
            eval_period=2,
            evaluate=evaluate,
            hooks=[EarlyStopping(2, deciding)],
            deciding=deciding,
        )
    assert result.iteration == 10
    assert result.stopped_early.startswith("no age/error below 3.0000 in 2 evaluations")
    assert read_checkpoint(tmp_path / "model_best.pth")["iteration"] == 4


def test_nothing_decides(tmp_path: Path) -> None:
    cfg = load_config(None, ["TEST.EARLY_STOPPING_PATIENCE", 2, "TEST.EVAL_PERIOD", 2])
    with pytest.raises(ValueError, match=r"EARLY_STOPPING_PATIENCE = 2: no evaluation.*`deciding`"):
        make_hooks(cfg, 0, None)
    train(tmp_path, 2, evaluate=scores(0.1), deciding=None)
    assert not (tmp_path / "model_best.pth").exists()


def test_whose_rule_decides() -> None:
    def evaluator(metrics: dict[str, tuple[str, ...]], **stated: Deciding) -> Any:
        return SimpleNamespace(metrics=metrics, **stated)

    hits, coco = evaluator({"bbox": ("hits",)}), evaluator({"bbox": ("AP",), "segm": ("AP",)})
    low = Deciding(("bbox/error",), higher_is_better=False)
    own = evaluator({"bbox": ("AP", "error")}, deciding=low)
    assert choose_deciding([hits]) is None
    assert choose_deciding([hits, coco, own]) == AP_DECIDES
    assert choose_deciding([hits, own, coco]) == low
    with pytest.raises(ValueError, match=r"deciding names 'bbox/error'; its metrics are: bbox/hits"):
        choose_deciding([evaluator({"bbox": ("hits",)}, deciding=low)])


def test_hooks_by_name() -> None:
    with pytest.raises(ValueError, match=r"SOLVER.HOOKS = 'nope' is not known"):
        make_hooks(load_config(None, ["SOLVER.HOOKS", "('nope',)"]), 0, AP_DECIDES)
    with pytest.raises(ValueError, match=r"METRIC_WRITERS = 'nope' is not known; known: tensorboard"):
        make_hooks(load_config(None, ["METRIC_WRITERS", "('nope',)"]), 0, AP_DECIDES)
    assert HOOKS == {}, "a name of the package would be on its own config key"
