"""`maskrcnn-benchmark train` as a user runs it, on a few embedded images; and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from scripts import TOOLS, draw_few_shapes, run_script, with_arguments

from maskrcnn_benchmark.commands.train import check_resumed_classes
from maskrcnn_benchmark.utils.metric_writers import read_metrics
from maskrcnn_benchmark.weights.checkpoint import read_checkpoint
from maskrcnn_benchmark.weights.provenance import provenance_of
from maskrcnn_benchmark.weights.sources.read import read_weights

ROOT = Path(__file__).parents[2]
SCRIPT = TOOLS / "train_net.py"
TINY = [
    *("--config-file", str(ROOT / "configs" / "quick" / "mask_rcnn_V_39_FPN_gn_shapes.yaml")),
    *("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64", "MODEL.DEVICE", "cpu", "SEED", "3"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.AUTO_SCALE", "False", "SOLVER.BASE_LR", "0.002"),
    *("SOLVER.MAX_ITER", "4", "SOLVER.STEPS", "(3,)", "SOLVER.WARMUP_ITERS", "2", "SOLVER.LOG_PERIOD", "1"),
    *("MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM", "32", "TEST.IMS_PER_BATCH", "2"),
]

SAMPLE_ALL = (
    *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", "2000", "MODEL.RPN.POSITIVE_FRACTION", "1.0"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "300", "MODEL.ROI_HEADS.POSITIVE_FRACTION", "1.0"),
)

Runner = Callable[..., int]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_few_shapes(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def train_net(datasets: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """The script in this process: `train_net("--resume", "KEY", "VALUE")` adds to the tiny run."""
    monkeypatch.setenv("MASKRCNN_BENCHMARK_DATASETS", str(datasets))

    def run(*arguments: str) -> int:
        return run_script(*command(*arguments))

    return run


def command(*arguments: str) -> list[str]:
    """The command line: flags first, then config keys."""
    return [str(SCRIPT), *with_arguments(TINY, arguments)]


def test_resumed_run_equals_the_whole_one(train_net: Runner, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train_net("--skip-test", "OUTPUT_DIR", str(whole)) == 0
    assert train_net("--skip-test", "OUTPUT_DIR", str(parts), "SOLVER.MAX_ITER", "2") == 0
    assert train_net("--resume", "OUTPUT_DIR", str(parts), "DATALOADER.NUM_WORKERS", "0") == 0
    first, second = (read_checkpoint(folder / "model_final.pth") for folder in (whole, parts))
    assert first["iteration"] == second["iteration"] == 4
    for name, tensor in first["model"].items():
        assert torch.equal(tensor, second["model"][name]), name
    for index, state in first["optimizer"]["state"].items():
        assert torch.equal(state["momentum_buffer"], second["optimizer"]["state"][index]["momentum_buffer"])
    assert torch.equal(first["random_states"][0]["torch"], second["random_states"][0]["torch"])
    # what the whole run leaves behind, and the resumed one's report
    for name in ("config.yml", "log.txt", "metrics.jsonl", "last_checkpoint", "model_final.pth"):
        assert (parts / name).is_file(), name
    for name in ("model_final", "model_best"):
        published = provenance_of(read_weights(parts / f"{name}.safetensors"))
        assert published.iteration == 4
        assert published.class_names == tuple(first["class_names"])
        assert published.class_names[0] == "__background__"
        assert "shapes_val/bbox/AP" in published.metrics
        assert published.row == "V-39-FPN Mask R-CNN"
    assert first["sampler"] == second["sampler"] == {"seed": 3, "images_per_batch": 2}
    assert list(parts.glob("events.out.tfevents.*"))
    assert (parts / "inference" / "shapes_val" / "bbox.json").is_file()
    assert "V-39-FPN" in (parts / "report.md").read_text()
    log = (parts / "log.txt").read_text()
    assert "Schedule: " in log
    assert "Resumed from" in log
    records = read_metrics(parts / "metrics.jsonl")
    assert [r["iteration"] for r in records if r["kind"] == "train"] == [1, 2, 3, 4]
    assert [r["iteration"] for r in records if r["kind"] == "evaluation"] == [4]
    whole_losses = [r["loss"] for r in read_metrics(whole / "metrics.jsonl")]
    assert [r["loss"] for r in records if r["kind"] == "train"] == whole_losses
    # a finished run, resumed again, is tested again and trains nothing
    assert train_net("--resume", "OUTPUT_DIR", str(parts), "DATALOADER.NUM_WORKERS", "0") == 0
    with pytest.raises(SystemExit, match="continue it with --resume"):
        train_net("OUTPUT_DIR", str(parts))
    with pytest.raises(SystemExit, match=r"another config: INPUT\.MIN_SIZE_TRAIN \[64\] -> \[96\]"):
        train_net("--resume", "OUTPUT_DIR", str(parts), "INPUT.MIN_SIZE_TRAIN", "(96,)")
    # its weights, given as weights, start a new run at iteration 0
    new = tmp_path / "new"
    weights = ("MODEL.WEIGHT", str(parts / "model_final.pth"))
    assert train_net("--skip-test", "OUTPUT_DIR", str(new), *weights, "SOLVER.MAX_ITER", "1") == 0
    assert read_checkpoint(new / "model_final.pth")["iteration"] == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("MODEL.WEIGHT", "/nowhere/w.pth"), "error: weights file '/nowhere/w.pth' does not exist"),
        (("MODEL.ROI_BOX_HEAD.NUM_CLASSES", "9"), "set MODEL.ROI_BOX_HEAD.NUM_CLASSES 4"),
        (("DATASETS.TRAIN", "('nope',)"), "nope"),
        (("DATASETS.TRAIN", "('/no.json@/no',)"), "/no.json: the annotation file"),
        (("DATASETS.TEST", "('nope',)"), "nope"),
        (("MODEL.BACKBONE.CONV_BODY", "V-40-FPN"), "V-39-FPN"),
        (("SOLVER.BASE_LRR", "1"), "nearest known: SOLVER.BASE_LR"),
        (("SOLVER.IMS_PER_BATCH", "3", "SOLVER.ACCUMULATION_STEPS", "2"), "not divisible"),
        (
            ("TEST.EXPECTED_RESULTS", "[['bbox', 'mAP', 0.5, 0.1]]"),
            "names an unknown number; IoU types: bbox",
        ),
        (("TEST.EXPECTED_RESULTS", "[0.5]"), "TEST.EXPECTED_RESULTS: [0.5] should be [IoU type, metric"),
        (("--resume",), "error: --resume: nothing to resume in OUTPUT_DIR"),
        (("OUTPUT_DIR", "/dev/null/run"), "OUTPUT_DIR '/dev/null/run' cannot be written"),
    ],
)
def test_what_is_refused_before_the_first_iteration(
    train_net: Runner, tmp_path: Path, keys: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        train_net("OUTPUT_DIR", str(tmp_path), *keys)
    assert message in str(caught.value)
    assert str(caught.value).startswith("error: ")
    assert not list(tmp_path.glob("*.pth"))


def test_validation_data_of_other_classes_are_refused_before_training(
    datasets: Path, train_net: Runner, tmp_path: Path
) -> None:
    annotations = datasets / "shapes" / "annotations" / "shapes_val.json"
    content = json.loads(annotations.read_text())
    for category in content["categories"]:
        category["name"] = f"other {category['name']}"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content))
    entry = f"('{other}@{datasets}/shapes/val',)"
    with pytest.raises(SystemExit, match=r"other\.json: its classes are not those of .*shapes_train\.json"):
        train_net("OUTPUT_DIR", str(tmp_path / "run"), "DATASETS.TEST", entry)
    assert not list((tmp_path / "run").glob("*.pth"))


def test_a_run_is_not_resumed_on_other_classes() -> None:
    check_resumed_classes(None, ("__background__", "a"))
    check_resumed_classes(("__background__", "a"), ("__background__", "a"))
    with pytest.raises(ValueError, match=r"trained on the classes a, b, DATASETS\.TRAIN now has b, a, in"):
        check_resumed_classes(("__background__", "a", "b"), ("__background__", "b", "a"))


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_image_that_breaks_in_training_ends_the_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    root = draw_few_shapes(tmp_path / "datasets")
    monkeypatch.setenv("MASKRCNN_BENCHMARK_DATASETS", str(root))
    pictures = sorted((root / "shapes" / "train").iterdir())
    for picture in pictures[:2]:  # whole headers, so that only decoding meets them
        picture.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])
    keys = ("OUTPUT_DIR", str(tmp_path / "run"), "DATALOADER.NUM_WORKERS", workers, "SOLVER.MAX_ITER", "8")
    assert run_script(*command("--skip-test", *keys)) == 1
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "not an image, or truncated" in log and "ERROR: iteration " in log
    assert "Traceback" not in log


def test_a_run_that_diverges_ends_with_an_explanation(datasets: Path, tmp_path: Path) -> None:
    """In a process of its own, because loader workers must not keep it from ending."""
    keys = ("SOLVER.BASE_LR", "1e12", "SOLVER.CLIP_GRAD_NORM", "0.0", "DATALOADER.NUM_WORKERS", "1")
    done = subprocess.run(
        [sys.executable, *command("--skip-test", "OUTPUT_DIR", str(tmp_path), *keys)],
        env=environment(datasets),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr[-3000:]
    log = (tmp_path / "log.txt").read_text()
    assert "ERROR: non-finite loss in iteration" in log
    assert f"--config-file {tmp_path / 'config.yml'} --replay {tmp_path / 'nonfinite_'}" in log
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_gpu_asked_for_and_absent(train_net: Runner, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="asks for a GPU, but"):
        train_net("OUTPUT_DIR", str(tmp_path), "MODEL.DEVICE", "cuda")


@pytest.fixture
def determinism(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a deterministic run switches on is switched off again."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    cudnn.deterministic, cudnn.benchmark = before


@pytest.mark.usefixtures("determinism")
@pytest.mark.parametrize("wanted", [True, False])
def test_one_key_makes_a_run_deterministic(train_net: Runner, tmp_path: Path, wanted: bool) -> None:
    torch.backends.cudnn.benchmark = True
    keys = ("SOLVER.MAX_ITER", "1", "SOLVER.STEPS", "()", "DETERMINISTIC", str(wanted))
    assert train_net("--skip-test", "OUTPUT_DIR", str(tmp_path), *keys) == 0
    assert torch.are_deterministic_algorithms_enabled() is wanted
    # an operation without a deterministic form is named in a warning and does not end the run
    assert torch.is_deterministic_algorithms_warn_only_enabled() is wanted
    assert torch.backends.cudnn.benchmark is not wanted
    assert torch.backends.cudnn.deterministic is wanted


def environment(datasets: Path) -> dict[str, str]:
    return os.environ | {
        "MASKRCNN_BENCHMARK_DATASETS": str(datasets),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.parametrize(
    "launcher", ["torch.distributed.run", pytest.param("torch.distributed.launch", marks=pytest.mark.slow)]
)
def test_two_processes_by_either_launcher(
    train_net: Runner, datasets: Path, tmp_path: Path, launcher: str
) -> None:
    """Nothing random is left (every anchor and region is sampled), so two processes that take half a batch
    each do what one does that takes it whole; all batches are padded alike, because group norm sees the
    padding. Of 5 test images one process has more than the other.
    """
    two, one = tmp_path / "two", tmp_path / "one"
    options = ["--nproc_per_node=2", "--master_port=0", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
    run = ("SOLVER.MAX_ITER", "2", "DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "4", *SAMPLE_ALL)
    run += ("DATALOADER.SIZE_DIVISIBILITY", "96")
    keys = command("OUTPUT_DIR", str(two), *run)
    done = subprocess.run(
        [sys.executable, "-m", launcher, *options, *keys],
        env=environment(datasets),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Processes: 2;" in (two / "log.txt").read_text()
    assert (two / "inference" / "shapes_val" / "bbox.json").is_file()
    assert (two / "report.md").is_file()
    assert train_net("--skip-test", "OUTPUT_DIR", str(one), *run) == 0
    records = [read_metrics(folder / "metrics.jsonl")[:2] for folder in (one, two)]
    for ours, theirs in zip(*records, strict=True):
        for name in (name for name in ours if name.startswith("loss")):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-4), name
    weights = [read_checkpoint(folder / "model_final.pth")["model"] for folder in (one, two)]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-5)


def test_a_signal_to_the_whole_group_is_survived_by_the_workers(datasets: Path, tmp_path: Path) -> None:
    keys = command("OUTPUT_DIR", str(tmp_path), "SOLVER.MAX_ITER", "500", "DATALOADER.NUM_WORKERS", "2")
    process = subprocess.Popen(
        [sys.executable, *keys], env=environment(datasets), stdout=subprocess.DEVNULL, start_new_session=True
    )
    metrics = tmp_path / "metrics.jsonl"
    end = time.monotonic() + 120
    while not (metrics.exists() and '"iteration": 2' in metrics.read_text()):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    name = (tmp_path / "last_checkpoint").read_text()
    assert 2 <= read_checkpoint(tmp_path / name)["iteration"] < 500
