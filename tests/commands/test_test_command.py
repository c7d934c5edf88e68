"""`maskrcnn-benchmark test` as a user starts it: alone, under torchrun, and under the old launcher."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from engine import inference_case as case

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.modeling.detector import build_detection_model

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "quick" / "mask_rcnn_V_39_FPN_gn_shapes.yaml"
NUM_IMAGES = 5  # not divisible by two processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images, and the weights of a detector that has learned nothing."""
    folder = tmp_path_factory.mktemp("test_net")
    case.write_dataset(folder, NUM_IMAGES)
    torch.manual_seed(0)
    model = build_detection_model(load_config(str(CONFIG), options(folder, "unused")))
    torch.save({"model": model.state_dict()}, folder / "weights.pth")
    return folder


def options(folder: Path, run: str, test_batch: int = 1) -> list[str]:
    chosen: dict[str, Any] = {
        "DATASETS.TEST": f"('{folder}/annotations.json@{folder}',)",
        "MODEL.ROI_BOX_HEAD.NUM_CLASSES": 3,
        "MODEL.DEVICE": "cpu",
        "DTYPE": "float32",
        "INPUT.MIN_SIZE_TEST": 64,
        "DATALOADER.NUM_WORKERS": 0,
        "TEST.IMS_PER_BATCH": test_batch,
        "OUTPUT_DIR": folder / run,
    }
    return [str(part) for pair in chosen.items() for part in pair]


def run_test_net(launcher: list[str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, str(ROOT / "tools" / "test_net.py"), "--config-file", str(CONFIG)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=300, check=False, env=environment
    )


def records(folder: Path, run: str, iou_type: str) -> list[dict[str, Any]]:
    (path,) = (folder / run / "inference").glob(f"*/{iou_type}.json")
    content: list[dict[str, Any]] = json.loads(path.read_text())
    return content


@pytest.fixture(scope="module")
def alone(folder: Path) -> subprocess.CompletedProcess[str]:
    expected = ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 0.99, 0.0001]]"]
    weights = ["--ckpt", str(folder / "weights.pth")]
    return run_test_net([], [*weights, *options(folder, "alone"), *expected])


def test_one_process(folder: Path, alone: subprocess.CompletedProcess[str]) -> None:
    assert "| V-39-FPN-GN | Mask R-CNN | annotations |" in alone.stdout.replace("  ", ""), alone.stderr
    assert (folder / "alone" / "report.md").exists()
    assert list((folder / "alone" / "inference").glob("*/detections.png"))
    assert {record["image_id"] for record in records(folder, "alone", "bbox")} <= set(range(100, 105))
    assert alone.returncode == 1, "the expected AP was missed"
    assert "not the expected result: bbox AP" in alone.stdout


@pytest.mark.parametrize(
    "launcher",
    [
        ["-m", "torch.distributed.run"],  # torchrun
        ["-m", "torch.distributed.launch"],  # passes --local-rank
    ],
)
def test_two_processes(folder: Path, alone: subprocess.CompletedProcess[str], launcher: list[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run = launcher[-1].rpartition(".")[2]
    processes = ["--nproc_per_node=2", f"--master_port={port}"]
    arguments = [*options(folder, run, test_batch=2), "MODEL.WEIGHT", str(folder / "weights.pth")]
    ended = run_test_net([*launcher, *processes], arguments)
    assert ended.returncode == 0, ended.stderr
    for iou_type in ("bbox", "segm"):
        expected, found = records(folder, "alone", iou_type), records(folder, run, iou_type)
        assert len(expected) > 0
        assert found == expected, "each image once, in the dataset's order, with the same predictions"


def test_no_weights(folder: Path) -> None:
    ended = run_test_net([], options(folder, "none"))
    assert ended.returncode == 1
    assert ended.stderr.strip() == "error: no weights to test: give MODEL.WEIGHT path.pth, or --ckpt path.pth"
    assert not (folder / "none").exists()


def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    weights = ["--ckpt", str(folder / "weights.pth")]
    ended = run_test_net([], [*weights, *options(folder, "unused"), "OUTPUT_DIR", "/dev/null/run"])
    assert ended.returncode == 1
    assert ended.stderr.strip().startswith("error: OUTPUT_DIR '/dev/null/run' cannot be written: ")
    assert "Traceback" not in ended.stderr


def test_the_body_that_a_config_trains_from_is_no_detector(folder: Path) -> None:
    """A published config names an ImageNet file; a test without weights would score random heads."""
    config = ROOT / "configs" / "mmdet" / "faster_rcnn_R_50_FPN_1x.yaml"
    ended = run_test_net([], ["--config-file", str(config), *options(folder, "body")])
    assert ended.returncode == 1
    (refusal, origin) = ended.stderr.strip().splitlines()[-2:]
    body = "catalog://ImageNetPretrained/torchvision/resnet50-IMAGENET1K_V1"
    assert refusal.startswith(f"error: weights {body}: a body alone (R-50), as training starts from it. ")
    assert "missing and would stay random: backbone.fpn 16, rpn.head 6, roi_heads.box 8. Give" in refusal
    for mend in (
        "MODEL.WEIGHT path.pth, or --ckpt path.pth",
        "maskrcnn-benchmark train",
        "WEIGHT_PARTIAL True",
    ):
        assert mend in refusal
    named = f"these are those of MODEL.WEIGHT in {config}"
    assert origin == f"None were named on the command line, so {named}"
    assert "Traceback" not in ended.stderr
    assert not (folder / "body" / "inference").exists()


@pytest.mark.parametrize("asked", [False, True])
def test_partial_loading_is_asked_for_on_the_command_line(folder: Path, tmp_path: Path, asked: bool) -> None:
    """The config of a run that began with part of a file says how it began."""
    state = torch.load(folder / "weights.pth", weights_only=True)["model"]
    torch.save({name: tensor for name, tensor in state.items() if ".body." in name}, tmp_path / "body.pth")
    text = CONFIG.read_text().replace("MODEL:\n", "MODEL:\n  WEIGHT_PARTIAL: True\n", 1)
    (tmp_path / "config.yaml").write_text(text)
    arguments = ["--config-file", str(tmp_path / "config.yaml"), "--ckpt", str(tmp_path / "body.pth")]
    keys = ["MODEL.WEIGHT_PARTIAL", "True"] if asked else []
    ended = run_test_net([], [*arguments, *options(folder, f"partial_{asked}"), *keys])
    assert (ended.returncode == 0) == asked
    assert ("a body alone (V-39)" in ended.stderr) != asked
