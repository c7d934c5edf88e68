"""Train a detector, test it, and write the report of the run.

    python tools/train_net.py --config-file FILE [KEY VALUE ...]
    torchrun --nproc_per_node=8 tools/train_net.py --config-file FILE [KEY VALUE ...]

The run goes to OUTPUT_DIR. A new run starts from MODEL.WEIGHT, or from scratch without it; --resume continues
the run that OUTPUT_DIR holds. SIGTERM and SIGINT end it after the iteration under way, with a checkpoint.

Exit status: 0 the run is complete; 1 an error, or a number that misses TEST.EXPECTED_RESULTS; 130 or 143
stopped by SIGINT or SIGTERM, to be continued with --resume.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from maskrcnn_benchmark.analysis.run_report import publish_results
from maskrcnn_benchmark.config import ConfigNode, describe_scaling, load_config
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.datasets.evaluation import make_evaluators
from maskrcnn_benchmark.engine.full_test import (
    DatasetOutcome,
    EvaluationOptions,
    evaluate_datasets,
    flat_results,
    make_evaluation_options,
    run_test,
)
from maskrcnn_benchmark.engine.precision import resolve_precision
from maskrcnn_benchmark.engine.replay import NonFiniteLossError, replay
from maskrcnn_benchmark.engine.start import make_seeded_config, start_run
from maskrcnn_benchmark.engine.train_options import make_train_options
from maskrcnn_benchmark.engine.trainer import do_train
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import WarmupLR, make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.structures.evaluation import Evaluator
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.device import resolve_device
from maskrcnn_benchmark.utils.disk_space import DiskFullError
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory
from maskrcnn_benchmark.utils.metric_writers import open_metric_writers
from maskrcnn_benchmark.utils.run_folder import CONFIG_FILE
from maskrcnn_benchmark.weights.checkpoint import Checkpointer, DetectronCheckpointer
from maskrcnn_benchmark.weights.sources.user_catalogue import build_weights_name

logger = logging.getLogger("maskrcnn_benchmark.train_net")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="path to a config file")
    parser.add_argument("--resume", action="store_true", help="continue the run that OUTPUT_DIR holds")
    parser.add_argument("--skip-test", action="store_true", help="test neither during training nor after it")
    parser.add_argument(
        "--replay", metavar="FILE", help="run the iteration that a non-finite loss left behind"
    )
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help="set by torch.distributed.launch"
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, help="config keys to change: KEY VALUE KEY VALUE ..."
    )
    return parser.parse_args()


@dataclass
class Tester:
    """Tests the model in training; the last time, also measures it and publishes the `outcomes`."""

    model: torch.nn.Module
    data_loaders: list[Any]
    names: tuple[str, ...]
    device: torch.device
    options: EvaluationOptions
    evaluators: list[Evaluator]
    outcomes: list[DatasetOutcome]

    def __call__(self, is_last: bool) -> Mapping[str, float]:
        if is_last:
            self.outcomes += run_test(
                self.model,
                self.data_loaders,
                self.names,
                self.device,
                self.options,
                self.evaluators,
                partial(publish_results, self.options, self.device),
            )
            return flat_results({outcome.name: outcome.results for outcome in self.outcomes})
        # what is expected is expected of the trained model
        options = replace(self.options, expected_results=())
        found = evaluate_datasets(
            self.model, self.data_loaders, self.names, self.device, options, self.evaluators
        )
        return flat_results({name: results for name, (results, _) in found.items()})


@dataclass
class Run:
    """The parts of a run, checked and ready."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: WarmupLR
    checkpointer: Checkpointer
    data_loader: Any
    arguments: dict[str, Any]
    tester: Tester | None


def prepare(cfg: ConfigNode, args: argparse.Namespace, device: torch.device) -> Run:
    """Builds everything and so finds, before the first iteration, whatever does not fit (ValueError)."""
    schedule = f"Schedule: {describe_scaling(args.config_file, args.opts)}"
    start_run(cfg.OUTPUT_DIR, cfg.dump(), args.resume, cfg.SEED, cfg.DETERMINISTIC, [schedule])
    distributed = comm.is_distributed()
    model = build_detection_model(cfg).to(device)
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    checkpointer = DetectronCheckpointer(
        cfg, model, optimizer, scheduler, cfg.OUTPUT_DIR, save_to_disk=comm.is_main_process()
    )
    arguments: dict[str, Any] = {"iteration": 0}
    if args.resume:
        arguments |= checkpointer.resume()
    data_loader = make_data_loader(cfg, True, distributed, arguments["iteration"])
    checkpointer.class_names = data_loader.dataset.class_names
    if not args.resume:
        checkpointer.load(build_weights_name(cfg), cfg.MODEL.WEIGHT_PARTIAL, new_classes=True)
    # the order of the images follows from these and the iteration
    arguments["sampler"] = {"seed": cfg.SEED, "images_per_batch": cfg.SOLVER.IMS_PER_BATCH}
    tester = None
    if not args.skip_test:
        data_loaders = make_data_loader(cfg, False, distributed)
        options, evaluators = make_evaluation_options(cfg, device), make_evaluators(cfg, data_loaders)
        tester = Tester(model, data_loaders, cfg.DATASETS.TEST, device, options, evaluators, [])
    return Run(model, optimizer, scheduler, checkpointer, data_loader, arguments, tester)


def train(cfg: ConfigNode, run: Run, device: torch.device) -> int:
    """Training, the tests in it and after it, and the report; returns the exit status."""
    start = run.arguments["iteration"]
    writers = open_metric_writers(cfg.OUTPUT_DIR, start) if comm.is_main_process() else []
    result = do_train(
        comm.distribute(run.model, device),
        run.data_loader,
        run.optimizer,
        run.scheduler,
        run.checkpointer,
        device,
        cfg.SOLVER.CHECKPOINT_PERIOD,
        run.arguments,
        make_train_options(cfg, device),
        run.tester,
        writers,
    )
    for writer in writers:
        writer.close()
    if result.stopped_by:
        return 128 + result.stopped_by
    if run.tester is None:
        return 0
    if start >= result.iteration:
        run.tester(True)  # the run was complete already
    return int(any(outcome.results.failed_expectations for outcome in run.tester.outcomes))


def main() -> int:
    args = parse_arguments()
    keep_freed_memory()
    try:
        cfg = load_config(args.config_file, args.opts)
        device = resolve_device(cfg.MODEL.DEVICE, comm.launched_local_rank(args.local_rank))
        comm.init_process_group(device)
        if args.replay:
            model = build_detection_model(cfg).to(device)
            precision = resolve_precision(cfg.DTYPE, device, training=True)
            print("losses:", replay(model, args.replay, device, precision))
            return 0
        cfg = make_seeded_config(cfg, args.resume)
        run = prepare(cfg, args, device)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error  # what a user can mend needs no traceback
    try:
        status = train(cfg, run, device)
    except NonFiniteLossError as error:
        config = Path(cfg.OUTPUT_DIR) / CONFIG_FILE
        command = f"python tools/train_net.py --config-file {config} --replay {error.replay_file}"
        logger.error("%s\nreplay it: %s", error, command)
        status = 1
    except DiskFullError as error:
        logger.error("%s", error)
        status = 1
    comm.destroy_process_group()
    return status
