"""A detector of a few weights, and children that measure nothing; shared by the benchmark's tests.

Run as a script by torchrun (argument: a folder with their files), measures two rows with such children.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from maskrcnn_benchmark.benchmark.measure.subject import OurDetector
from maskrcnn_benchmark.benchmark.results import Results, Settings
from maskrcnn_benchmark.benchmark.run.environment import describe_environment
from maskrcnn_benchmark.benchmark.run.job import PARTS, Job
from maskrcnn_benchmark.benchmark.run.loop import Run
from maskrcnn_benchmark.benchmark.run.options import Asked, make_settings
from maskrcnn_benchmark.benchmark.run.plan import PlannedRow, plan_rows
from maskrcnn_benchmark.benchmark.run.processes import Processes
from maskrcnn_benchmark.benchmark.run.resume import start_results
from maskrcnn_benchmark.benchmark.run.selection import RowSpec
from maskrcnn_benchmark.config import ConfigNode, load_config
from maskrcnn_benchmark.engine.precision import FLOAT32
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.stop_signals import StopSignals

POOLER = """
    POOLER_SAMPLING_RATIO: 2
    POOLER_SCALES: (0.25, 0.125, 0.0625, 0.03125)
"""
TINY = f"""
MODEL:
  MASK_ON: True
  BACKBONE:
    CONV_BODY: "V-27-slim-FPN"
    FREEZE_CONV_BODY_AT: 0
  VOVNET:
    BACKBONE_OUT_CHANNELS: 32
  RPN:
    USE_FPN: True
    ANCHOR_STRIDE: (4, 8, 16, 32, 64)
    PRE_NMS_TOP_N_TRAIN: 2000
    PRE_NMS_TOP_N_TEST: 1000
    FPN_POST_NMS_TOP_N_TEST: 1000
  ROI_HEADS:
    USE_FPN: True
    BATCH_SIZE_PER_IMAGE: 64
  ROI_BOX_HEAD:
    FEATURE_EXTRACTOR: "FPN2MLPFeatureExtractor"
    PREDICTOR: "FPNPredictor"
    POOLER_RESOLUTION: 7
    MLP_HEAD_DIM: 64{POOLER}
  ROI_MASK_HEAD:
    FEATURE_EXTRACTOR: "MaskRCNNFPNFeatureExtractor"
    PREDICTOR: "MaskRCNNC4Predictor"
    POOLER_RESOLUTION: 14
    RESOLUTION: 28
    SHARE_BOX_FEATURE_EXTRACTOR: False
    CONV_LAYERS: (16, 16){POOLER}
DATALOADER:
  SIZE_DIVISIBILITY: 32
"""
SIZE = (128, 200)

# A child that leaves the journal of a measured row, and first does what its name asks for.
FAKE_CHILD = """
import json, os, signal, sys, time
job, journal = json.load(open(sys.argv[1])), open(sys.argv[2], "a")
def say(**entry):
    print(json.dumps(entry), file=journal, flush=True)
say(measure="computed_in", value="float32" if "emulated" in job["name"] else job["dtype"])
if "hangs" in job["name"]:
    say(begin="the training steps")
    time.sleep(600)
if "greedy" in job["name"] and "training" in job["parts"]:
    say(begin="the training steps")
    os.kill(os.getpid(), signal.SIGKILL)
if "lonely" in job["name"]:  # of two processes, one is gone and the other waits for it
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)
if "broken" in job["name"]:
    sys.exit(3)
say(measure="parameters", value=123)
"""


def tiny_config(folder: Path, name: str = "tiny") -> str:
    """Path of the config file; one that is there, which another process may be reading, stays."""
    path = folder / f"{name}.yaml"
    if not path.exists():
        path.write_text(TINY)
    return str(path)


def tiny_settings(steps: int = 1, images: int = 2, quick: bool = True) -> Settings:
    """Small images, few of them."""
    asked = Asked(steps=steps, images=images, batch_sizes=(2,), quick=quick, size=SIZE)
    return make_settings(asked, "cpu")[0]


def tiny_detector(cfg: ConfigNode) -> OurDetector:
    """The detector with fixed random weights."""
    torch.manual_seed(0)
    return OurDetector(build_detection_model(cfg), torch.device("cpu"), FLOAT32, 32)


def tiny_cfg(folder: Path, size: tuple[int, int] = SIZE) -> ConfigNode:
    """The config with a short side, and a long side of at most, so many pixels."""
    sizes = ["INPUT.MIN_SIZE_TEST", str(size[0]), "INPUT.MAX_SIZE_TEST", str(size[1])]
    return load_config(tiny_config(folder), sizes)


def tiny_plan(folder: Path, *names: str) -> list[PlannedRow]:
    """A row of each name, all of the same detector."""
    specs = [RowSpec(name, tiny_config(folder, name)) for name in names]
    return plan_rows(specs, tiny_settings(), "cpu", {})


def tiny_job(folder: Path) -> Job:
    """The row "tiny"."""
    return tiny_plan(folder, "tiny")[0].job(PARTS, tiny_settings(), folder)


def fake_child(folder: Path) -> tuple[str, str]:
    """The command of the child that measures nothing."""
    path = folder / "fake_child.py"
    if not path.exists():
        path.write_text(FAKE_CHILD)
    return sys.executable, str(path)


def make_run(
    folder: Path, plan: Sequence[PlannedRow], signals: StopSignals, results: Results | None = None
) -> Run:
    """A run with children that measure nothing."""
    if results is None:
        results = start_results(describe_environment(torch.device("cpu")), tiny_settings())
    processes = Processes(folder / "work", signals, fake_child(folder))
    return Run(plan, results, folder, processes, lambda _results: None)


if __name__ == "__main__":
    comm.init_process_group(torch.device("cpu"))
    place = Path(sys.argv[1])
    make_run(place, tiny_plan(place, "lonely", "together"), StopSignals()).measure()
    comm.destroy_process_group()
