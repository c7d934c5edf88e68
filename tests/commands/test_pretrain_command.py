"""`maskrcnn-benchmark pretrain` as a user runs it, on a few images; and what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scripts import TOOLS, run_script

from maskrcnn_benchmark.data.transforms.crops import RandomResizedCrop
from maskrcnn_benchmark.utils.metric_writers import read_metrics

SCRIPT = TOOLS / "pretrain_backbone.py"
FLAGS = ("--body", "V-27-slim", "--epochs", "2", "--batch-size", "4", "--crop-size", "32")
KEYS = ("SEED", "3", "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0", "SOLVER.LOG_PERIOD", "1")

Runner = Callable[..., int]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, dark and light noise: 6 images to train on (two batches of 4), 5 to test on."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for name, low in (("dark", 0), ("light", 120)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count + (split == "val" and name == "dark")):
                pixels = rng.integers(low, low + 100, (40, 48, 3), np.uint8)
                assert cv2.imwrite(str(folder / f"{number}.jpg"), pixels)
    return root


@pytest.fixture
def pretrain(images: Path) -> Runner:
    """The script in this process: `pretrain(folder, "--flag", ..., "KEY", "VALUE", ...)`."""

    def run(folder: Path, *arguments: str, data: Path = images) -> int:
        return run_script(*command(folder, data, *arguments))

    return run


def command(folder: Path, data: Path, *arguments: str) -> list[str]:
    """The command line: flags first, then config keys."""
    first_key = next((i for i, a in enumerate(arguments) if a.startswith("SOLVER.")), len(arguments))
    flags, keys = arguments[:first_key], arguments[first_key:]
    return [str(SCRIPT), "--data", str(data), *FLAGS, *flags, "OUTPUT_DIR", str(folder), *KEYS, *keys]


def read_backbone(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "backbone.pth", weights_only=True)["model"]
    return state


def test_a_run_stopped_by_sigterm_and_resumed_equals_the_whole_one(
    pretrain: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert pretrain(whole) == 0
    # stopped in the middle of the second epoch, in iteration 3 of 4
    seen = []
    crop = RandomResizedCrop.__call__

    def crop_and_signal(self: RandomResizedCrop, *arguments: object) -> torch.Tensor:
        seen.append(1)
        if len(seen) == 10:
            signal.raise_signal(signal.SIGTERM)
        return crop(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RandomResizedCrop, "__call__", crop_and_signal)
    assert pretrain(parts) == 128 + signal.SIGTERM
    assert (parts / "last_checkpoint").read_text() == "model_0000003.pth"
    assert not (parts / "backbone.pth").exists()
    monkeypatch.setattr(RandomResizedCrop, "__call__", crop)
    assert pretrain(parts, "--resume") == 0
    one, two = read_backbone(whole), read_backbone(parts)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name
    records = [read_metrics(folder / "metrics.jsonl") for folder in (whole, parts)]
    losses = [[r["loss"] for r in run if r["kind"] == "train"] for run in records]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4
    tests = [[(r["iteration"], r["val/top1"]) for r in run if r["kind"] == "evaluation"] for run in records]
    assert tests[0] == tests[1]
    assert [iteration for iteration, _ in tests[0]] == [2, 4]
    assert all(r["val/top5"] == 100 for r in records[0] if r["kind"] == "evaluation")  # of two classes
    # complete: resumed again it tests, trains nothing and gives the same weights
    assert pretrain(parts, "--resume") == 0
    assert all(torch.equal(tensor, two[name]) for name, tensor in read_backbone(parts).items())
    with pytest.raises(SystemExit, match="continue it with --resume"):
        pretrain(parts)
    with pytest.raises(SystemExit, match=r"another config: PRETRAIN\.CROP_SIZE 32 -> 48"):
        pretrain(parts, "--resume", "--crop-size", "48")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--body", "V-38"), r"CONV_BODY = 'V-38' is not known; nearest: .*V-39"),
        (("SOLVER.BASE_LRR", "1"), r"nearest known: SOLVER\.BASE_LR"),
        (("--resume",), "nothing to resume in OUTPUT_DIR"),
        (("SOLVER.ACCUMULATION_STEPS", "3"), "not divisible"),
    ],
)
def test_what_is_refused_before_the_first_iteration(
    pretrain: Runner, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit, match=message) as caught:
        pretrain(tmp_path, *arguments)
    assert str(caught.value).startswith("error: ")
    assert not list(tmp_path.glob("*.pth"))


def test_data_that_is_no_data_set_and_an_image_that_is_none(
    pretrain: Runner, images: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=r"error: .*train: no such folder"):
        pretrain(tmp_path / "run", data=tmp_path / "nowhere")
    broken = tmp_path / "data"
    for split in ("train", "val"):
        for name in ("dark", "light"):
            (broken / split / name).mkdir(parents=True)
            (broken / split / name / "a.jpg").write_bytes(b"no image")
    with pytest.raises(SystemExit, match=r"error: .*a\.jpg: not an image, or truncated"):
        pretrain(tmp_path / "run", data=broken)


def test_a_non_finite_loss_ends_the_run(pretrain: Runner, tmp_path: Path) -> None:
    """Without the command that replays a detector's iteration."""
    assert pretrain(tmp_path, "SOLVER.BASE_LR", "1e30") == 1
    log = (tmp_path / "log.txt").read_text()
    assert "ERROR: non-finite loss in iteration" in log
    assert "--replay" not in log
    assert not (tmp_path / "backbone.pth").exists()


@pytest.mark.slow
def test_two_processes_train_as_one(images: Path, tmp_path: Path) -> None:
    """With group norm, which looks at one image at a time, half a batch each is the whole batch."""
    norm = (
        *("SOLVER.LOG_PERIOD", "1", "MODEL.BACKBONE.NORM", "GN"),
        "MODEL.GROUP_NORM.NUM_GROUPS",
        "-1",
        "MODEL.GROUP_NORM.DIM_PER_GP",
        "16",
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    for count in (1, 2):
        launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={count}", "--master_port=0"]
        launcher += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
        done = subprocess.run(
            [sys.executable, *launcher, *command(tmp_path / str(count), images, *norm)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (read_backbone(tmp_path / str(count)) for count in (1, 2))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)
    scores = [
        [
            r["val/top1"]
            for r in read_metrics(tmp_path / str(count) / "metrics.jsonl")
            if r["kind"] == "evaluation"
        ]
        for count in (1, 2)
    ]
    assert scores[0] == scores[1]
