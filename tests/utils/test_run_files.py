"""The files of a run: folder checks, metrics, log, whole files, random states, smoothed values."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.engine.best import best_evaluation, quality
from maskrcnn_benchmark.utils.device import memory_in_use, resolve_device
from maskrcnn_benchmark.utils.logger import setup_logger
from maskrcnn_benchmark.utils.metric_logger import MetricLogger, SmoothedValue
from maskrcnn_benchmark.utils.metric_writers import JsonLinesWriter, open_metric_writers, read_metrics
from maskrcnn_benchmark.utils.plain_file import check_plain, load_plain
from maskrcnn_benchmark.utils.random_state import (
    choose_seed,
    random_state,
    random_state_kept,
    seed_everything,
    set_random_state,
)
from maskrcnn_benchmark.utils.run_folder import check_run_folder, recorded_seed, write_config
from maskrcnn_benchmark.utils.whole_file import open_whole

CPU = torch.device("cpu")
TEXT = load_config(None, ["SOLVER.BASE_LR", 0.5]).dump()


def test_a_drawn_seed_is_found_again(tmp_path: Path) -> None:
    assert recorded_seed(tmp_path) is None
    write_config(tmp_path, load_config(None, ["SEED", "1234"]).dump())
    assert recorded_seed(tmp_path) == 1234


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"OUTPUT_DIR '.*file/run' cannot be written"):
        check_run_folder(tmp_path / "file" / "run", TEXT, resume=False)


def test_new_runs_and_resumed_ones(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    with pytest.raises(ValueError, match="nothing to resume"):
        check_run_folder(folder, TEXT, resume=True)
    check_run_folder(folder, TEXT, resume=False)
    (folder / "config.yml.123.tmp").write_text("left by a killed writer")
    write_config(folder, TEXT)
    assert [p.name for p in folder.iterdir()] == ["config.yml"]
    check_run_folder(folder, TEXT, resume=False)  # a start that never came to a checkpoint may be repeated
    (folder / "last_checkpoint").write_text("model_0000001.pth")
    with pytest.raises(ValueError, match="continue it with --resume, or give another OUTPUT_DIR"):
        check_run_folder(folder, TEXT, resume=False)
    check_run_folder(folder, TEXT, resume=True)


def test_the_run_of_another_config_is_not_resumed(tmp_path: Path) -> None:
    write_config(tmp_path, TEXT)
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    longer = load_config(None, ["SOLVER.BASE_LR", 0.5, "SOLVER.MAX_ITER", 9, "TEST.IMS_PER_BATCH", 1])
    check_run_folder(tmp_path, longer.dump(), resume=True)
    other = load_config(None, ["SOLVER.BASE_LR", 0.25, "MODEL.RESNETS.WIDTH_PER_GROUP", 32])
    with pytest.raises(ValueError, match="holds the run of another config") as caught:
        check_run_folder(tmp_path, other.dump(), resume=True)
    assert "SOLVER.BASE_LR 0.5 -> 0.25" in str(caught.value)
    assert "MODEL.RESNETS.WIDTH_PER_GROUP 64 -> 32" in str(caught.value)


def test_a_run_from_before_a_key_had_its_default(tmp_path: Path) -> None:
    lines = [line for line in TEXT.splitlines() if "LR_SCHEDULE" not in line]
    assert len(lines) == len(TEXT.splitlines()) - 1
    write_config(tmp_path, "\n".join(lines))
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    check_run_folder(tmp_path, TEXT, resume=True)
    other = load_config(None, ["SOLVER.BASE_LR", 0.5, "SOLVER.LR_SCHEDULE", "cosine"])
    with pytest.raises(ValueError, match=r"SOLVER.LR_SCHEDULE 'multistep' -> 'cosine'"):
        check_run_folder(tmp_path, other.dump(), resume=True)


def test_metrics_are_cut_back_to_the_resumed_iteration(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path)
    for iteration in (10, 20, 30):
        writer.write({"kind": "train", "iteration": iteration, "loss": iteration / 7})
        writer.write({"kind": "evaluation", "iteration": iteration, "v/bbox/AP": 0.4 - iteration / 100})
    writer.close()
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"kind": "train", "iter')  # a crash in the middle of a line
    assert len(read_metrics(path)) == 6
    resumed = JsonLinesWriter(path, last_iteration=20)
    resumed.write({"kind": "train", "iteration": 21, "loss": float("nan")})
    resumed.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [10, 10, 20, 20, 21]
    assert lines[2]["loss"] == 20 / 7
    assert lines[4]["loss"] is None
    assert best_evaluation(tmp_path) == 0.4 - 10 / 100
    JsonLinesWriter(path).close()
    assert path.read_text() == ""


def test_mask_ap_decides_where_there_is_one() -> None:
    assert quality({"a/bbox/AP": 0.9, "a/segm/AP": 0.2, "b/segm/AP": 0.7}) == 0.2
    assert quality({"a/bbox/AP": 0.9, "a/bbox/AP50": 1.0}) == 0.9
    assert quality({}) == quality({"a/bbox/AP": float("nan")}) == -float("inf")
    assert best_evaluation("/nowhere") == -float("inf")


def test_tensorboard_events_of_a_run(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writers = open_metric_writers(tmp_path)
    for iteration in (1, 2):
        for writer in writers:
            writer.write({"kind": "train", "iteration": iteration, "loss": iteration / 4, "lr": float("nan")})
    for writer in writers:
        writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.25), (2, 0.5)]
    assert events.Tags()["scalars"] == ["train/loss"]


def test_log_goes_to_screen_and_file_from_the_main_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        setup_logger("test_log_x", tmp_path, 0)
        setup_logger("test_log_x", tmp_path, 0)  # replaces, so that nothing is written twice
        logging.getLogger("test_log_x.part").info("hello %d", 5)
        assert (tmp_path / "log.txt").read_text().count("hello 5") == 1
        assert capsys.readouterr().out.count("hello 5") == 1
        setup_logger("test_log_x", tmp_path, 3)
        logging.getLogger("test_log_x").info("quiet")
        logging.getLogger("test_log_x").warning("careful")
        printed = capsys.readouterr().out
        assert "quiet" not in printed
        assert "[rank 3]" in printed
        assert "careful" not in (tmp_path / "log.txt").read_text()
    finally:
        setup_logger("test_log_x", None, 0)


def test_whole_file_keeps_the_previous_one_on_error(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    with open_whole(path) as file:
        file.write("first")
    with pytest.raises(KeyError), open_whole(path) as file:
        file.write("second")
        raise KeyError("interrupted")
    assert path.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def draws() -> list[float]:
    """Numbers of every generator."""
    return [random.random(), float(np.random.rand()), float(np.random.randn()), torch.rand(()).item()]  # noqa: NPY002


def test_random_states_are_plain_and_complete(tmp_path: Path) -> None:
    seed_everything(3)
    random.gauss(0, 1)
    np.random.randn()  # noqa: NPY002  # leaves a cached second value behind
    state = random_state(CPU)
    check_plain(state, "state")
    torch.save(state, tmp_path / "s.pth")
    first = draws()
    with random_state_kept(CPU):
        assert draws() != first
    second = draws()
    set_random_state(torch.load(tmp_path / "s.pth", weights_only=True), CPU)
    assert draws() == first
    assert draws() == second
    seed_everything(3)
    random.gauss(0, 1)
    np.random.randn()  # noqa: NPY002
    assert draws() == first


def test_seeds() -> None:
    assert choose_seed(5) == 5
    assert choose_seed(-1) >= 0
    assert choose_seed(-1) != choose_seed(-1)


def test_smoothed_values() -> None:
    """The numbers of the family's class, whose median of an even number is the lower middle one."""
    meter = SmoothedValue(4)
    for value in (1, 5, 2, 8, 3, 10):
        meter.update(value)
    assert (meter.median, meter.avg) == (3.0, 5.75)
    assert meter.global_avg == pytest.approx(4.833333333333333)
    logger = MetricLogger(delimiter="; ", window_size=2)
    logger.update(loss=torch.tensor(1.0), rate=2)
    logger.update(loss=3.0, rate=2)
    assert str(logger) == "loss: 1.0000 (2.0000); rate: 2.0000 (2.0000)"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_devices_without_a_gpu() -> None:
    assert resolve_device("auto") == resolve_device("cpu") == CPU
    for name in ("cuda", "cuda:1"):
        with pytest.raises(ValueError, match=f"MODEL.DEVICE = '{name}' asks for a GPU, but"):
            resolve_device(name)


def test_memory_of_a_process_is_labelled_as_such() -> None:
    before = memory_in_use(CPU)
    assert list(before) == ["peak_rss"]
    ballast = torch.ones(64 * 1024 * 1024 // 4)
    assert memory_in_use(CPU)["peak_rss"] > 64
    assert memory_in_use(CPU)["peak_rss"] >= before["peak_rss"]
    assert ballast.sum() > 0


def test_a_plain_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replay.pth"
    with pytest.raises(ValueError, match=r"^replay file '.*replay\.pth' cannot be read: .*No such file"):
        load_plain(path, "replay file")
    torch.save([1], path)
    with pytest.raises(ValueError, match=r"replay\.pth' holds a list instead of a dictionary"):
        load_plain(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"replay\.pth' is truncated or damaged"):
        load_plain(path)
