"""Checkpoints: whole or not at all, plain values only, nothing executed, and what does not fit is listed."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.weights.checkpoint import (
    Checkpointer,
    DetectronCheckpointer,
    read_checkpoint,
    save_plain,
)
from maskrcnn_benchmark.weights.load import Purpose


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)


class Detector(nn.Module):
    """Names as a detector's: backbone.body..., rpn..."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"body": Body()})
        self.rpn = nn.Conv2d(4, 4, 1)
        self.roi_heads = nn.Linear(4, classes)


def same(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_save_and_resume(tmp_path: Path) -> None:
    cfg = load_config()
    first = Detector()
    optimizer = make_optimizer(cfg, first)
    scheduler = make_lr_scheduler(cfg, optimizer)
    first.rpn(torch.ones(1, 4, 2, 2)).sum().backward()
    scheduler.step()
    optimizer.step()
    saved = Checkpointer(first, optimizer, scheduler, tmp_path)
    assert not saved.has_checkpoint()
    assert saved.get_checkpoint_file() == ""
    saved.save("model_0000001", iteration=1, states=[torch.arange(3), "x", None, 0.5])
    second = Detector()
    optimizer2 = make_optimizer(cfg, second)
    scheduler2 = make_lr_scheduler(cfg, optimizer2)
    resumed = Checkpointer(second, optimizer2, scheduler2, tmp_path)
    assert resumed.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")
    extra = resumed.resume()
    assert extra["iteration"] == 1
    assert extra["states"][0].tolist() == [0, 1, 2]
    assert same(second, first.state_dict())
    assert scheduler2.last_epoch == 1
    assert optimizer2.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    momentum = optimizer2.state[second.rpn.weight]["momentum_buffer"]
    assert torch.equal(momentum, optimizer.state[first.rpn.weight]["momentum_buffer"])
    assert momentum.count_nonzero() > 0


def test_a_run_of_before_versions_resumes(tmp_path: Path) -> None:
    """Its last checkpoint holds no format, version, config or class names."""
    cfg, first = load_config(), Detector()
    optimizer = make_optimizer(cfg, first)
    scheduler = make_lr_scheduler(cfg, optimizer)
    path = Checkpointer(first, optimizer, scheduler, tmp_path).save(
        "model_0000003", iteration=3, random_states=[]
    )
    assert path is not None
    content = read_checkpoint(path)
    for name in ("format", "version", "config", "class_names"):
        del content[name]
    save_plain(path, content)
    second = Detector()
    optimizer2 = make_optimizer(cfg, second)
    resumed = Checkpointer(second, optimizer2, make_lr_scheduler(cfg, optimizer2), tmp_path)
    assert resumed.resume() == {"iteration": 3, "random_states": []}
    assert same(second, first.state_dict())


def test_weights_only_take_nothing_else(tmp_path: Path) -> None:
    """MODEL.WEIGHT pointing at a run's checkpoint starts a new run from its weights."""
    cfg = load_config()
    first = Detector()
    optimizer = make_optimizer(cfg, first)
    scheduler = make_lr_scheduler(cfg, optimizer)
    scheduler.step()
    path = Checkpointer(first, optimizer, scheduler, tmp_path).save("model_final", iteration=1)
    second = Detector()
    optimizer2 = make_optimizer(cfg, second)
    scheduler2 = make_lr_scheduler(cfg, optimizer2)
    loaded = DetectronCheckpointer(cfg, second, optimizer2, scheduler2, tmp_path / "new")
    assert loaded.load(path, Purpose.USE).extra["iteration"] == 1
    assert same(second, first.state_dict())
    assert scheduler2.last_epoch == 0
    assert loaded.load("").loaded == {}


def test_folder_can_be_moved(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    Checkpointer(Detector(), save_dir=old).save("model_final")
    old.rename(tmp_path / "new")
    moved = Checkpointer(Detector(), save_dir=tmp_path / "new")
    assert Path(moved.get_checkpoint_file()) == tmp_path / "new" / "model_final.pth"
    # the family writes whole paths
    (tmp_path / "new" / "last_checkpoint").write_text(str(old / "model_final.pth"))
    assert Path(moved.get_checkpoint_file()) == tmp_path / "new" / "model_final.pth"


def test_only_the_main_process_writes(tmp_path: Path) -> None:
    checkpointer = Checkpointer(Detector(), save_dir=tmp_path, save_to_disk=False)
    assert checkpointer.save("model_final") is None
    assert checkpointer.save_weights("model_best") is None
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to resume in OUTPUT_DIR"):
        Checkpointer(Detector(), save_dir=tmp_path).resume()
    cfg, model = load_config(), Detector()
    Checkpointer(model, save_dir=tmp_path).save("weights")
    with pytest.raises(ValueError, match="holds no optimizer"):
        Checkpointer(model, make_optimizer(cfg, model), save_dir=tmp_path).resume()


def test_absent_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.pth' does not exist"):
        read_checkpoint(tmp_path / "nowhere.pth")
    path = tmp_path / "w.pth"
    torch.save({"model": Detector().state_dict()}, path)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"w\.pth.*(truncated|damaged)"):
            read_checkpoint(path)
    path.write_text("not a checkpoint at all")
    with pytest.raises(ValueError, match=r"w\.pth"):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="holds a list"):
        read_checkpoint(path)
    torch.save({"model": {"note": "no tensors"}}, path)
    with pytest.raises(ValueError, match="holds no tensors"):
        Checkpointer(Detector()).load(path, Purpose.USE)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(tmp_path: Path, zipped: bool) -> None:
    bait = tmp_path / "executed"
    torch.save(
        {"model": Detector().state_dict(), "extra": Trap(str(bait))},
        tmp_path / "trap.pth",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(ValueError, match="nothing in it was executed"):
        Checkpointer(Detector()).load(tmp_path / "trap.pth", Purpose.USE)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Trap(str(bait))))
    with pytest.raises(ValueError, match=r"plain\.pkl"):
        read_checkpoint(tmp_path / "plain.pkl")
    assert not bait.exists()


def test_only_plain_values_are_written(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    save_plain(path, {"a": 1})
    before = path.read_bytes()
    for value in (np.float64(1), object(), {1, 2}, [torch.device("cpu")], {"b": np.zeros(2)}):
        with pytest.raises(TypeError, match=r"x\.pth\['a'\]"):
            save_plain(path, {"a": value})
    assert path.read_bytes() == before
    save_plain(path, {"a": OrderedDict(b=torch.ones(2)), "c": (1, 2.0, "x", None, True, b"y")})
    assert read_checkpoint(path)["c"] == (1, 2.0, "x", None, True, b"y")


def test_wrapped_names_are_unwrapped(tmp_path: Path) -> None:
    first = Detector()
    torch.save({"model": {f"module.{k}": v for k, v in first.state_dict().items()}}, tmp_path / "w.pth")
    second = Detector()
    Checkpointer(second).load(tmp_path / "w.pth", Purpose.USE)
    assert same(second, first.state_dict())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_bare_body_fills_the_body(tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    body = Body()
    state = {f"{prefix}{key}": value for key, value in body.state_dict().items()}
    state |= {f"{prefix}classifier.weight": torch.ones(2, 2)}
    torch.save(state, tmp_path / "body.pth")
    model = Detector()
    rpn = model.rpn.weight.clone()
    with caplog.at_level(logging.INFO, logger="maskrcnn_benchmark"):
        Checkpointer(model).load(tmp_path / "body.pth", Purpose.TRAINING)
    assert torch.equal(model.backbone["body"].conv.weight, body.conv.weight)
    assert torch.equal(model.rpn.weight, rpn)
    assert "initial values kept for: 4 (rpn.weight, rpn.bias" in caplog.text


@pytest.mark.parametrize("bare", [True, False])
def test_incomplete_body_is_refused(tmp_path: Path, bare: bool) -> None:
    state = Body().state_dict()
    del state["norm.weight"]
    if bare:
        state["layer9.weight"] = torch.ones(1)
    torch.save(dict(state), tmp_path / "body.pth")
    model = Detector()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHT_PARTIAL True") as caught:
        Checkpointer(model).load(tmp_path / "body.pth", Purpose.TRAINING)
    assert "backbone.body.norm.weight" in str(caught.value)
    assert same(model, before)


def test_another_class_count_is_listed_and_loaded_only_when_asked(tmp_path: Path) -> None:
    first = Detector(classes=81)
    torch.save({"model": first.state_dict()}, tmp_path / "w.pth")
    model = Detector(classes=4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"roi_heads\.weight \(81, 4\) instead of \(4, 4\)"):
        Checkpointer(model).load(tmp_path / "w.pth", Purpose.USE)
    assert same(model, before)
    Checkpointer(model).load(tmp_path / "w.pth", Purpose.USE, partial=True)
    assert torch.equal(model.rpn.weight, first.rpn.weight)
    assert torch.equal(model.roi_heads.weight, before["roi_heads.weight"])


def test_unrelated_file_is_refused_even_partially(tmp_path: Path) -> None:
    torch.save(nn.LSTM(2, 2).state_dict(), tmp_path / "w.pth")
    for partial in (False, True):
        with pytest.raises(ValueError, match="no entry fits the model"):
            Checkpointer(Detector()).load(tmp_path / "w.pth", Purpose.USE, partial=partial)


WRITER = """
import sys, torch
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
model = torch.nn.Linear(1500, 1500)
checkpointer = Checkpointer(model, save_dir=sys.argv[1])
number = 0
while True:
    torch.nn.init.constant_(model.weight, number)
    checkpointer.save("model_final", iteration=number)
    if number == 0:
        print("first", flush=True)
    number += 1
"""


def test_killed_writer_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """Killed at many moments of writing, over and over to the same name: what is there can always be read."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    for delay in (0.0, 0.013, 0.04):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        process.stdout.close()
        assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
        data = read_checkpoint(tmp_path / "model_final.pth")
        assert (data["model"]["weight"] == data["iteration"]).all()


def test_failed_write_leaves_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pth"
    save_plain(path, {"a": 1})

    def full_disk(data: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_plain(path, {"a": 2})
    assert read_checkpoint(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]
