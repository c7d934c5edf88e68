"""A hook and a metric writer from a user's own file, through the real command; and who may have it run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from commands.test_train_command import TINY
from engine import inference_case as case
from scripts import draw_few_shapes, run_command
from weights.small_detector import small_config, small_detector

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.engine.hooks import HOOKS
from maskrcnn_benchmark.models.loaded_detector import load_detector
from maskrcnn_benchmark.utils.metric_writers import METRIC_WRITERS
from maskrcnn_benchmark.weights.checkpoint import Checkpointer, read_checkpoint

PLUGINS = '''
import json
from pathlib import Path
from maskrcnn_benchmark.engine.hooks import HOOKS, Hook
from maskrcnn_benchmark.utils.metric_writers import METRIC_WRITERS


@HOOKS.register("guest_weights")
class WeightNorms(Hook):
    """Notes how long the weights of the box head are, from the start on."""

    def __init__(self, cfg):
        self.path = Path(cfg.OUTPUT_DIR) / "norms.txt"

    def note(self, state):
        norm = state.model.roi_heads.box.predictor.cls_score.weight.norm().item()
        with self.path.open("a") as file:
            print(state.iteration, norm, file=file)

    def on_start(self, state):
        self.note(state)

    def after_iteration(self, state, record):
        self.note(state)


@METRIC_WRITERS.register("guest_file")
class GuestWriter:
    def __init__(self, folder, last_iteration):
        self.file = (Path(folder) / "guest.jsonl").open("a")

    def write(self, record):
        print(json.dumps(record), file=self.file)

    def close(self):
        self.file.close()
'''
MARK = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[Path]:
    """The user's file; what it registers is forgotten afterwards."""
    file = tmp_path / "my_plugins.py"
    file.write_text(PLUGINS)
    yield file
    HOOKS.pop("guest_weights", None)
    METRIC_WRITERS.pop("guest_file", None)


def test_a_hook_and_a_metric_writer_from_outside(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two iterations of the real command; nothing of the package is edited."""
    monkeypatch.setenv("MASKRCNN_BENCHMARK_DATASETS", str(draw_few_shapes(tmp_path / "datasets")))
    folder = tmp_path / "run"
    keys = ("SOLVER.HOOKS", "('guest_weights',)", "METRIC_WRITERS", "('guest_file',)")
    here = ("OUTPUT_DIR", folder, "SOLVER.MAX_ITER", 2, "SOLVER.STEPS", "()", "DATALOADER.NUM_WORKERS", 0)
    with pytest.raises(SystemExit, match=r"SOLVER\.HOOKS = 'guest_weights' is not known"):
        run_command("train", *TINY, *here, *keys, "--skip-test")
    assert run_command("train", *TINY, *here, *keys, "--skip-test", "--import", plugins) == 0
    lines = [line.split() for line in (folder / "norms.txt").read_text().splitlines()]
    assert [int(iteration) for iteration, _ in lines] == [0, 1, 2]
    final = read_checkpoint(folder / "model_final.pth")["model"]["roi_heads.box.predictor.cls_score.weight"]
    assert float(lines[-1][1]) == pytest.approx(final.norm().item(), rel=1e-6)
    assert float(lines[0][1]) != float(lines[-1][1])
    assert (folder / "guest.jsonl").read_text() == (folder / "metrics.jsonl").read_text()
    assert len((folder / "guest.jsonl").read_text().splitlines()) == 2
    assert not list(folder.glob("events.out.tfevents.*")), "METRIC_WRITERS says where else the numbers go"
    # the run remembers the module: its config alone continues it
    assert (str(plugins),) == load_config(str(folder / "config.yml")).IMPORTS


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, Path]:
    """A published file whose config asks for a module, and that module, which marks that it ran."""
    module = tmp_path / "wanted.py"
    module.write_text(MARK)
    cfg = small_config(3).clone()
    cfg.defrost()
    cfg.IMPORTS = (str(module),)
    names = ("__background__", "even", "odd")
    torch.manual_seed(0)
    checkpointer = Checkpointer(small_detector(3), save_dir=tmp_path, config=cfg.dump(), class_names=names)
    path = checkpointer.publish("w")
    assert path is not None
    return path, module


def test_a_file_of_weights_never_makes_code_run(
    weights: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    path, module = weights
    load_detector(path, "cpu")
    assert not module.with_suffix(".ran").exists()
    said = " ".join(record.getMessage() for record in caplog.records)
    assert str(path) in said
    assert f"--import {module}" in said
    load_detector(path, "cpu", ["IMPORTS", f"('{module}',)"])
    assert module.with_suffix(".ran").exists()


def test_testing_weights_runs_what_the_user_names(weights: tuple[Path, Path], tmp_path: Path) -> None:
    path, module = weights
    case.write_dataset(tmp_path, 2)
    data = f"('{tmp_path}/annotations.json@{tmp_path}',)"
    given = ("DATASETS.TEST", data, "DATALOADER.NUM_WORKERS", 0, "TEST.IMS_PER_BATCH", 1)
    given += ("MODEL.DEVICE", "cpu", "MODEL.WEIGHT", path)
    assert run_command("test", *given, "OUTPUT_DIR", tmp_path / "one") == 0
    assert not module.with_suffix(".ran").exists()
    assert run_command("test", *given, "OUTPUT_DIR", tmp_path / "two", "--import", module) == 0
    assert module.with_suffix(".ran").exists()
