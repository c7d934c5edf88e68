"""A user's commands on a GPU: training in every type, testing, resuming, diverging; the benchmark."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from benchmark.tiny_case import tiny_config
from scripts import TOOLS, draw_few_shapes, run_script, with_arguments

from maskrcnn_benchmark.benchmark.results import load_results
from maskrcnn_benchmark.utils.metric_writers import read_metrics
from maskrcnn_benchmark.weights.checkpoint import read_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]

DEVICE = "cuda"
CONFIG = TOOLS.parent / "configs" / "quick" / "mask_rcnn_V_39_FPN_gn_shapes.yaml"
TINY = [
    *("--config-file", str(CONFIG), "MODEL.DEVICE", DEVICE, "SEED", "3"),
    *("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64", "TEST.IMS_PER_BATCH", "2"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.AUTO_SCALE", "False", "SOLVER.BASE_LR", "0.002"),
    *("SOLVER.MAX_ITER", "6", "SOLVER.STEPS", "(5,)", "SOLVER.WARMUP_ITERS", "2", "SOLVER.LOG_PERIOD", "1"),
]

Runner = Callable[..., int]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_few_shapes(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def train_net(datasets: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setenv("MASKRCNN_BENCHMARK_DATASETS", str(datasets))

    def run(folder: Path, *arguments: str) -> int:
        options = with_arguments(TINY, arguments)
        return run_script(TOOLS / "train_net.py", *options, "OUTPUT_DIR", folder)

    return run


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_run_trains_tests_and_reports(train_net: Runner, tmp_path: Path, dtype: str) -> None:
    assert train_net(tmp_path, "DTYPE", dtype, "TEST.EVAL_PERIOD", "3") == 0
    records = read_metrics(tmp_path / "metrics.jsonl")
    training = [record for record in records if record["kind"] == "train"]
    assert [record["iteration"] for record in training] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(float(record["loss"])) for record in training)
    assert all(0 < record["memory_allocated"] <= record["memory_reserved"] for record in training)
    assert [record["iteration"] for record in records if record["kind"] == "evaluation"] == [3, 6]
    report = (tmp_path / "report.md").read_text()
    assert torch.cuda.get_device_name() in report and f"; {dtype}; torch" in report
    saved = read_checkpoint(tmp_path / "model_final.pth")
    assert {tensor.device.type for tensor in saved["model"].values()} == {"cpu"}
    assert ("cuda" in saved["random_states"][0]) and (bool(saved["scaler"]) == (dtype == "float16"))


def test_a_resumed_run_goes_on(train_net: Runner, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train_net(whole, "--skip-test", "DETERMINISTIC", "True") == 0
    assert train_net(parts, "--skip-test", "DETERMINISTIC", "True", "SOLVER.MAX_ITER", "3") == 0
    assert train_net(parts, "--skip-test", "--resume", "DETERMINISTIC", "True") == 0
    torch.use_deterministic_algorithms(False)
    losses = [[record["loss"] for record in read_metrics(run / "metrics.jsonl")] for run in (whole, parts)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_run_that_diverges_stops_with_the_weights_before(train_net: Runner, tmp_path: Path) -> None:
    """The values are read some iterations late; until then no update may have touched the weights."""
    keys = ("SOLVER.BASE_LR", "1e12", "SOLVER.CLIP_GRAD_NORM", "0.0", "SOLVER.LOG_PERIOD", "50")
    assert train_net(tmp_path, "--skip-test", *keys, "SOLVER.MAX_ITER", "50", "SOLVER.STEPS", "(49,)") == 1
    (file,) = tmp_path.glob("nonfinite_*_rank0.pth")
    weights = read_checkpoint(file)["model"]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


def test_the_benchmark(tmp_path: Path) -> None:
    asked = ["--quick", "--device", DEVICE, "--configs", tiny_config(tmp_path), "--batch-sizes", "2"]
    folder = tmp_path / "out"
    dtypes = ["--dtypes", "float32", "bfloat16", "float16"]
    assert (
        run_script(TOOLS / "benchmark.py", *asked, "--output-dir", folder, "--memory-breakdown", *dtypes) == 0
    )
    results = load_results(folder / "results.json")
    assert results.environment.device == torch.cuda.get_device_name()
    assert [row.computed_in for row in results.rows] == ["float32", "bfloat16", "float16"]
    for row in results.rows:
        assert row.status == "ok", row.reason
        memory, load = row.training_memory, row.load
        assert memory is not None and memory.allocated_mib and memory.reserved_mib
        assert memory.peak_rss_mib is None and memory.peak_tensors_mib is None
        assert load is not None and load.proposals > 0
        assert row.inference is not None and row.inference.split is not None and row.macs is not None


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_as_one_run(datasets: Path, tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(TOOLS / "train_net.py"), *TINY, "OUTPUT_DIR", str(tmp_path)],
        env=os.environ | {"MASKRCNN_BENCHMARK_DATASETS": str(datasets), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Processes: 2;" in (tmp_path / "log.txt").read_text()
    assert (tmp_path / "report.md").is_file()
