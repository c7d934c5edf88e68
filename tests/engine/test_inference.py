"""Inference over a data set: every image once, training mode restored, files written."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine import inference_case as case

from maskrcnn_benchmark.engine.inference import evaluation_mode, inference, merge_predictions
from maskrcnn_benchmark.engine.precision import Precision


def test_scores_and_files(tmp_path: Path) -> None:
    case.write_dataset(tmp_path, 5)
    model = case.KnowingDetector().train()
    model.frozen.eval()
    out = tmp_path / "out"
    answer = inference(
        model, case.make_loader(tmp_path), "known", ("bbox", "segm"), device="cpu", output_folder=str(out)
    )
    assert answer is not None
    results, predictions = answer
    assert results.results["bbox"]["AP"] == pytest.approx(1.0)
    assert results.results["segm"]["AP50"] == pytest.approx(1.0)
    assert [image.image_id for image in predictions] == [100, 101, 102, 103, 104]
    assert model.seen == [0, 1, 2, 3, 4]
    assert model.modes == {False}
    assert model.training and not model.frozen.training
    assert {path.name for path in out.iterdir()} == {
        "bbox.json",
        "segm.json",
        "coco_results.json",
        "per_class.md",
    }


def test_mode_comes_back_after_an_error() -> None:
    model = case.KnowingDetector().train()
    model.frozen.eval()
    with pytest.raises(KeyError), evaluation_mode(model):
        assert not model.training
        raise KeyError
    assert model.training and not model.frozen.training


def test_model_runs_in_the_asked_precision(tmp_path: Path) -> None:
    case.write_dataset(tmp_path, 1)
    model = case.KnowingDetector()
    types = []
    product = torch.nn.Linear(1, 1)
    model.register_forward_pre_hook(lambda *_: types.append(product(torch.ones(1, 1)).dtype))
    for dtype in (torch.float32, torch.bfloat16):
        inference(model, case.make_loader(tmp_path), "known", device="cpu", precision=Precision(dtype))
    assert types == [torch.float32, torch.bfloat16]


def test_unexpected_results_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case.write_dataset(tmp_path, 2)
    expected = [["bbox", "AP", 0.4, 0.01]]
    answer = inference(
        case.KnowingDetector(), case.make_loader(tmp_path), "known", ("bbox",), "cpu", expected
    )
    assert answer is not None and len(answer[0].failed_expectations) == 1
    assert "known: not the expected result: bbox AP" in caplog.text


def test_missing_image() -> None:
    with pytest.raises(RuntimeError, match="2 of 3 images have no prediction, the first is index 1"):
        merge_predictions([{0: None}], 3)  # type: ignore[dict-item]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("num_images", [5, 1])
def test_two_processes_with_unequal_shares(num_images: int, tmp_path: Path) -> None:
    """With one image, the second process has nothing at all to do, and nobody waits for it."""
    case.write_dataset(tmp_path, num_images)
    results_file = tmp_path / "results.json"
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    command = [sys.executable, case.__file__, str(tmp_path), str(num_images), str(results_file)]
    processes = [
        subprocess.Popen(
            command, env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    content = json.loads(results_file.read_text())
    assert sorted(itertools.chain(*content["seen"])) == list(range(num_images)), "every image exactly once"
    assert content["ids"] == [100 + i for i in range(num_images)]
    assert content["results"]["bbox"]["AP"] == pytest.approx(1.0)
