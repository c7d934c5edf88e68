"""The main job on embedded data: draw the data, train, stop half-way, resume, test, report.

    maskrcnn-benchmark quickstart
    maskrcnn-benchmark quickstart SOLVER.MAX_ITER 100     # config keys for every step

Every step is the command that a user would give, in a process of its own, shown before it runs.
Without keys the test fails where box AP50 is below 0.60 or mask AP50 below 0.55.
Writes output/quickstart/.
Exit status: 0; 1 a step failed.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_benchmark.commands.command_line import named_parser, parse, user_errors
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.engine.full_test import PICTURE_FILE, inference_folder
from maskrcnn_benchmark.engine.report import REPORT_FILE
from maskrcnn_benchmark.utils.metric_writers import METRICS_FILE, read_metrics

CONFIG = "quick/mask_rcnn_V_39_FPN_gn_shapes.yaml"  # of the package
PACKAGE = "maskrcnn_benchmark"
# mean and deviation, of which four are allowed: 0.60 .. 1.00 and 0.55 .. 1.00
EXPECTED = "[['bbox', 'AP50', 0.8, 0.05], ['segm', 'AP50', 0.775, 0.05625]]"


@dataclass(frozen=True)
class Plan:
    """What the steps need to know of the config."""

    max_iter: int
    test_set: str


def make_plan(opts: Sequence[str]) -> Plan:
    """The plan of the config with these keys (ValueError where they do not fit)."""
    cfg = load_config(CONFIG, opts)
    return Plan(cfg.SOLVER.MAX_ITER, cfg.DATASETS.TEST[0])


def start(step: str, command: list[str]) -> subprocess.Popen[bytes]:
    print(f"\n=== {step}\n$ {shlex.join(['python', *command])}\n", flush=True)
    return subprocess.Popen([sys.executable, *command])


def finish(step: str, process: subprocess.Popen[bytes], *also_fine: int) -> None:
    if process.wait() not in (0, *also_fine):
        raise SystemExit(
            f"quickstart: {step} failed with status {process.returncode}; its message stands above"
        )


def run(step: str, command: list[str]) -> None:
    finish(step, start(step, command))


def stop_after(process: subprocess.Popen[bytes], metrics: Path, iteration: int) -> None:
    """Ask the process to stop, as a cluster would, once its metrics show the iteration; it may end before."""
    while process.poll() is None:
        records = read_metrics(metrics) if metrics.exists() else []
        if any(int(record["iteration"]) >= iteration for record in records):
            print("\n=== Half-way: stopping the training with SIGTERM, as a cluster would\n", flush=True)
            process.send_signal(signal.SIGTERM)
            return
        time.sleep(0.2)


def make_parser() -> argparse.ArgumentParser:
    parser = named_parser("quickstart", "[KEY VALUE ...]", __doc__)
    parser.add_argument("opts", nargs="*", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(make_parser(), argv)
    began = time.monotonic()
    folder = Path("output") / "quickstart" / time.strftime("%Y%m%d-%H%M%S")
    opts = [*args.opts, "OUTPUT_DIR", str(folder)]
    with user_errors():
        plan = make_plan(opts)
    train = ["-m", PACKAGE, "train", "--config-file", CONFIG, "--skip-test"]

    shapes = str(Path(DatasetCatalog.root()) / "shapes")
    run("Drawing the data", ["-m", f"{PACKAGE}.data.datasets.shapes", "--root", shapes])
    training = start("Training, first half", [*train, *opts])
    stop_after(training, folder / METRICS_FILE, plan.max_iter // 2)
    finish("Training, first half", training, 128 + signal.SIGTERM)
    run("Training, resumed", [*train, "--resume", *opts])
    weights = ["MODEL.WEIGHT", str(folder / "model_final.pth")]
    expected = [] if args.opts else ["TEST.EXPECTED_RESULTS", EXPECTED]
    run("Testing", ["-m", PACKAGE, "test", "--config-file", CONFIG, *opts, *weights, *expected])

    table = [line for line in (folder / REPORT_FILE).read_text().splitlines() if line.startswith("|")][:3]
    picture = Path(inference_folder(str(folder), plan.test_set)) / PICTURE_FILE
    print(f"\n=== Done in {(time.monotonic() - began) / 60:.1f} minutes\n")
    print("\n".join(table))
    print(f"\nRun:     {folder.resolve()}")
    print(f"Report:  {(folder / REPORT_FILE).resolve()}")
    print(f"Picture: {picture.resolve()}")
    return 0
