"""The main job on embedded data, start to finish: draw the data, train, stop half-way, resume, test, report.

    python tools/quickstart.py

Every step is the command a user would give, in a process of its own, shown before it runs. Further arguments
are config keys for all of them, such as SOLVER.MAX_ITER 100. Without such, the test fails where box AP50 is
below 0.60 or mask AP50 below 0.55.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from maskrcnn_benchmark.analysis.run_report import PICTURE_FILE, REPORT_FILE
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.engine.full_test import inference_folder
from maskrcnn_benchmark.utils.metric_writers import METRICS_FILE, read_metrics

TOOLS = Path(__file__).resolve().parents[2] / "tools"
CONFIG = TOOLS.parent / "configs" / "quick" / "mask_rcnn_V_39_FPN_gn_shapes.yaml"
# mean and deviation, of which four are allowed: 0.60 .. 1.00 and 0.55 .. 1.00
EXPECTED = "[['bbox', 'AP50', 0.8, 0.05], ['segm', 'AP50', 0.775, 0.05625]]"


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


def main() -> None:
    began = time.monotonic()
    folder = Path("output") / "quickstart" / time.strftime("%Y%m%d-%H%M%S")
    opts = [*sys.argv[1:], "OUTPUT_DIR", str(folder)]
    cfg = load_config(str(CONFIG), opts)
    shapes = Path(DatasetCatalog.root()) / "shapes"
    train = [str(TOOLS / "train_net.py"), "--config-file", str(CONFIG), "--skip-test"]

    run("Drawing the data", ["-m", "maskrcnn_benchmark.data.datasets.shapes", "--root", str(shapes)])
    training = start("Training, first half", [*train, *opts])
    stop_after(training, folder / METRICS_FILE, cfg.SOLVER.MAX_ITER // 2)
    finish("Training, first half", training, 128 + signal.SIGTERM)
    run("Training, resumed", [*train, "--resume", *opts])
    weights = ["MODEL.WEIGHT", str(folder / "model_final.pth")]
    expected = [] if sys.argv[1:] else ["TEST.EXPECTED_RESULTS", EXPECTED]
    run("Testing", [str(TOOLS / "test_net.py"), "--config-file", str(CONFIG), *opts, *weights, *expected])

    table = [line for line in (folder / REPORT_FILE).read_text().splitlines() if line.startswith("|")][:3]
    picture = Path(inference_folder(str(folder), cfg.DATASETS.TEST[0])) / PICTURE_FILE
    print(f"\n=== Done in {(time.monotonic() - began) / 60:.1f} minutes\n")
    print("\n".join(table))
    print(f"\nRun:     {folder.resolve()}")
    print(f"Report:  {(folder / REPORT_FILE).resolve()}")
    print(f"Picture: {picture.resolve()}")
