"""Measure the rows of the result table: results.json, table.md and report.html.
Exit status: 0; 1 an error or a failed row; 130 or 143 stopped by a signal.

    maskrcnn-benchmark benchmark --quick     # at a reduced size, in minutes
    maskrcnn-benchmark benchmark --weights-dir runs --dataset coco_2017_val
"""

from __future__ import annotations

import argparse
import datetime
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from maskrcnn_benchmark.benchmark.measure.peers import PEERS
from maskrcnn_benchmark.benchmark.report.compare_runs import compare
from maskrcnn_benchmark.benchmark.report.html_page import HTML_FILE, write_html
from maskrcnn_benchmark.benchmark.report.markdown_page import TABLE_FILE, main_table, write_table
from maskrcnn_benchmark.benchmark.results import Results, load_results
from maskrcnn_benchmark.benchmark.row import FAILED
from maskrcnn_benchmark.benchmark.run.environment import describe_environment
from maskrcnn_benchmark.benchmark.run.loop import Run
from maskrcnn_benchmark.benchmark.run.options import DTYPES, Asked, find_weights, make_settings
from maskrcnn_benchmark.benchmark.run.plan import plan_rows
from maskrcnn_benchmark.benchmark.run.processes import Interrupted, Processes
from maskrcnn_benchmark.benchmark.run.resume import check_folder, resume, start_results
from maskrcnn_benchmark.benchmark.run.selection import find_rows
from maskrcnn_benchmark.commands.command_line import named_parser, user_errors
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.device import resolve_device
from maskrcnn_benchmark.utils.stop_signals import StopSignals

logger = logging.getLogger("maskrcnn_benchmark.benchmark")

WORK_FOLDER = "work"  # jobs and journals of the children; gone after a complete run


def make_parser() -> argparse.ArgumentParser:
    parser = named_parser("benchmark", "[OPTIONS]", __doc__)
    parser.add_argument("--configs", nargs="+", default=[], metavar="ROW", help="rows, configs or patterns")
    parser.add_argument("--weights-dir", metavar="FOLDER", help="files named after the rows or their configs")
    parser.add_argument("--dataset", metavar="NAME", help="of the catalogue, or annotations.json@folder")
    parser.add_argument("--peers", nargs="+", default=[], metavar="NAME", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--steps", type=int, help="training steps (20; --quick 2)")
    parser.add_argument("--images", type=int, help="timed images (100; --quick 3)")
    parser.add_argument(
        "--batch-sizes",
        type=int,
        nargs="+",
        metavar="N",
        help="of the throughput (4 8; a CPU 4; --quick none)",
    )
    parser.add_argument("--dtypes", nargs="+", metavar="TYPE", help=f"of {', '.join(DTYPES)}")
    parser.add_argument("--quick", action="store_true", help="small images, few of them")
    parser.add_argument("--memory-breakdown", action="store_true", help="what each module saves for backward")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--output-dir", metavar="FOLDER", help="default: benchmarks/results/DATE_DEVICE")
    parser.add_argument("--resume", action="store_true", help="keep the finished rows of the output folder")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two results.json; measures nothing")
    return parser


def default_folder(device_type: str, quick: bool) -> str:
    """A dated folder, one for each kind of run."""
    return f"benchmarks/results/{datetime.date.today()}_{device_type}{'_quick' if quick else ''}"


def write_reports(folder: Path, results: Results) -> None:
    """What is made from results.json."""
    write_table(results, folder / TABLE_FILE)
    write_html(results, folder / HTML_FILE)


def prepare(args: argparse.Namespace, signals: StopSignals) -> Run:
    """Everything checked, from the configs to the folder (ValueError)."""
    device = resolve_device(args.device, comm.launched_local_rank())
    comm.init_process_group(torch.device("cpu"))  # the children compute
    asked = Asked(
        args.steps,
        args.images,
        args.batch_sizes,
        args.dtypes,
        args.quick,
        args.dataset,
        args.weights_dir,
        args.peers,
        args.memory_breakdown,
    )
    settings, missing = make_settings(asked, device.type)
    if missing:
        logger.warning("%s", missing)
    specs = find_rows(args.configs)
    plan = plan_rows(specs, settings, args.device, find_weights(args.weights_dir, specs), missing)
    folder = Path(args.output_dir or default_folder(device.type, args.quick))
    check_folder(folder, args.resume)
    comm.synchronize()  # everyone has looked at the folder before anything is written there
    results = start_results(describe_environment(device), settings)
    if args.resume:
        results = resume(folder, results)
    processes = Processes(folder / WORK_FOLDER, signals)
    return Run(plan, results, folder, processes, lambda found: write_reports(folder, found))


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    level = logging.INFO if comm.launched_local_rank() == 0 else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stdout)
    with StopSignals() as signals:
        with user_errors():
            if args.compare:
                before, after = (load_results(path) for path in args.compare)
                print(compare(before, after, tuple(args.compare)))
                return 0
            run = prepare(args, signals)
        try:
            run.measure()
        except Interrupted as error:
            logger.error("Stopped by %s; finished rows are in %s, go on with --resume", error, run.folder)
            return 128 + error.number
    comm.synchronize()
    if comm.is_main_process():
        shutil.rmtree(run.folder / WORK_FOLDER, ignore_errors=True)
    comm.destroy_process_group()
    logger.info("\n%s\n\nReport: %s", main_table(run.results), run.folder / HTML_FILE)
    return int(any(row.status == FAILED for row in (*run.results.rows, *run.results.peers)))
