"""docs/extending.md, run as it stands: every kind of part from a user's own file, trained together."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
SMALL = [
    *("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64", "MODEL.DEVICE", "cpu"),
    *("DATALOADER.NUM_WORKERS", "0", "SOLVER.MAX_ITER", "2", "SOLVER.LOG_PERIOD", "1"),
    *("MODEL.ROI_HEADS.SCORE_THRESH", "0.0", "TEST.IMS_PER_BATCH", "1", "SEED", "1"),
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's file and config, and a dataset of the page's format."""
    folder = tmp_path_factory.mktemp("own_parts")
    (folder / "my_parts.py").write_text("\n".join(blocks("python")))
    (config,) = blocks("yaml")
    (folder / "my_config.yaml").write_text(config)
    (folder / "dots").mkdir()
    lines = []
    for number in range(4):
        image = np.full((64, 80, 3), 40, np.uint8)
        for x in (6 + number, 40 + number):
            cv2.circle(image, (x + 10, 30), 10, (0, 200, 250), -1)
            lines.append(f"{number}.png 80 64 {x} 20 21 21")
        cv2.imwrite(str(folder / "dots" / f"{number}.png"), image)
    (folder / "dots" / "objects.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """The folder of the run that the page's command leaves, at a small size."""
    command = [sys.executable, "-m", "maskrcnn_benchmark", "train", "--import", "my_parts.py"]
    command += ["--config-file", "my_config.yaml", *SMALL]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder / "runs" / "dots"


def test_all_parts_took_part(run: Path) -> None:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [record for record in records if record["kind"] == "train"]
    assert [record["iteration"] for record in trained] == [1, 2]
    assert all(np.isfinite(record["loss_quality"]) and record["loss_quality"] > 0 for record in trained)
    (evaluation,) = [record for record in records if record["kind"] == "evaluation"]
    (error,) = [value for name, value in evaluation.items() if name.endswith("bbox/count_error")]
    assert error >= 0
    assert (run / "model_best.pth").is_file(), "its number decides which weights are the best"
    assert (run / "steps.txt").read_text() == "2 of 2"
    lines = (run / "losses.csv").read_text().splitlines()
    assert lines == [f"{record['iteration']},{record['loss']}" for record in trained]


def test_the_weights_alone_run_nothing_of_the_users(run: Path, folder: Path) -> None:
    """The config inside the weights names the module; it is imported only where the user says so again."""
    use = (
        "from maskrcnn_benchmark.models import load_detector\n"
        "detector = load_detector('runs/dots/model_final.safetensors', 'cpu', {options})\n"
        "(boxes,) = detector('dots/0.png')\n"
        "print(sorted(boxes.fields()), len(boxes))\n"
    )
    for options, succeeds in (("[]", False), ("['IMPORTS', \"('my_parts.py',)\"]", True)):
        command = [sys.executable, "-c", use.format(options=options)]
        done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=300)
        assert (done.returncode == 0) == succeeds, done.stderr[-2000:]
        if succeeds:
            assert "['labels', 'quality', 'scores']" in done.stdout
        else:
            assert "--import my_parts.py" in done.stderr
            assert "MODEL.BACKBONE.CONV_BODY = 'Tiny-FPN' is not known" in done.stderr
