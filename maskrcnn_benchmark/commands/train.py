"""Train a detector, test it, and write the report of the run into OUTPUT_DIR.

    maskrcnn-benchmark train --config-file vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml DTYPE bfloat16
    torchrun --nproc_per_node=8 -m maskrcnn_benchmark train --config-file FILE [KEY VALUE ...]

A new run starts from MODEL.WEIGHT, or from scratch without it. SIGTERM and SIGINT end it after the
iteration under way, with a checkpoint, and --resume continues it.

Exit status: 0 complete; 1 an error, or a number that misses TEST.EXPECTED_RESULTS; 130 or 143
stopped by SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from maskrcnn_benchmark.analysis.run_report import publish_results
from maskrcnn_benchmark.commands.command_line import (
    add_config_keys,
    add_local_rank,
    make_config,
    named_parser,
    parse,
    user_errors,
)
from maskrcnn_benchmark.config import ConfigNode, describe_scaling
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.datasets.class_order import Classified
from maskrcnn_benchmark.data.datasets.evaluation import make_evaluators
from maskrcnn_benchmark.engine.best import choose_deciding
from maskrcnn_benchmark.engine.builtin_hooks import make_hooks
from maskrcnn_benchmark.engine.full_test import (
    DatasetOutcome,
    EvaluationOptions,
    evaluate_datasets,
    flat_results,
    make_evaluation_options,
    run_test,
)
from maskrcnn_benchmark.engine.hooks import Hook
from maskrcnn_benchmark.engine.precision import resolve_precision
from maskrcnn_benchmark.engine.replay import NonFiniteLossError, replay
from maskrcnn_benchmark.engine.start import make_seeded_config, start_run
from maskrcnn_benchmark.engine.train_options import TrainOptions, make_train_options
from maskrcnn_benchmark.engine.trainer import do_train
from maskrcnn_benchmark.modeling.detector import Detector, build_detection_model
from maskrcnn_benchmark.solver import WarmupLR, make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.structures.evaluation import AP_DECIDES, Evaluator
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.data_fault import DataFault, reason_of
from maskrcnn_benchmark.utils.device import resolve_device
from maskrcnn_benchmark.utils.disk_space import DiskFullError
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory
from maskrcnn_benchmark.utils.run_folder import CONFIG_FILE
from maskrcnn_benchmark.weights.checkpoint import Checkpointer, DetectronCheckpointer
from maskrcnn_benchmark.weights.load import Purpose
from maskrcnn_benchmark.weights.sources.user_catalogue import build_weights_name

logger = logging.getLogger("maskrcnn_benchmark.train_net")


def make_parser() -> argparse.ArgumentParser:
    parser = named_parser("train", "--config-file FILE [OPTIONS] [KEY VALUE ...]", __doc__)
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="a path, or a config of the package"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run that OUTPUT_DIR holds")
    parser.add_argument("--skip-test", action="store_true", help="test neither during training nor after it")
    parser.add_argument("--replay", metavar="FILE", help="run the iteration of a non-finite loss again")
    add_local_rank(parser)
    add_config_keys(parser)
    return parser


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
    device: torch.device
    checkpoint_period: int
    arguments: dict[str, Any]
    options: TrainOptions
    tester: Tester | None
    hooks: list[Hook]


def build_run(args: argparse.Namespace) -> Run:
    """Builds everything and so finds, before the first iteration, whatever does not fit (ValueError)."""
    cfg = make_config(args)
    device = resolve_device(cfg.MODEL.DEVICE, comm.launched_local_rank(args.local_rank))
    comm.init_process_group(device)
    cfg = make_seeded_config(cfg, args.resume)
    schedule = f"Schedule: {describe_scaling(args.config_file, args.opts)}"
    start_run(cfg.OUTPUT_DIR, cfg.dump(), args.resume, cfg.SEED, cfg.DETERMINISTIC, [schedule])
    model = build_detection_model(cfg).to(device)
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    checkpointer = DetectronCheckpointer(
        cfg, model, optimizer, scheduler, cfg.OUTPUT_DIR, save_to_disk=comm.is_main_process()
    )
    arguments: dict[str, Any] = {"iteration": 0}
    if args.resume:
        arguments |= checkpointer.resume()
    data_loader = make_data_loader(cfg, True, comm.is_distributed(), arguments["iteration"])
    class_names = data_loader.dataset.class_names
    if args.resume:
        check_resumed_classes(checkpointer.class_names, class_names)
    checkpointer.class_names = class_names
    if not args.resume:
        checkpointer.load(build_weights_name(cfg), Purpose.TRAINING, cfg.MODEL.WEIGHT_PARTIAL)
    # the order of the images follows from these and the iteration
    arguments["sampler"] = {"seed": cfg.SEED, "images_per_batch": cfg.SOLVER.IMS_PER_BATCH}
    tester = None if args.skip_test else build_tester(cfg, model, device, data_loader.dataset)
    deciding = AP_DECIDES if tester is None else choose_deciding(tester.evaluators)
    if deciding is None:
        logger.info("No evaluator gives a number to decide by (`deciding`): no model_best is written")
    return Run(
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
        checkpointer=checkpointer,
        data_loader=data_loader,
        device=device,
        checkpoint_period=cfg.SOLVER.CHECKPOINT_PERIOD,
        arguments=arguments,
        options=make_train_options(cfg, device, deciding),
        tester=tester,
        hooks=make_hooks(cfg, arguments["iteration"], deciding),
    )


def check_resumed_classes(trained: Sequence[str] | None, given: Sequence[str]) -> None:
    """Refuses to go on with data of other classes than the run's so far, where its checkpoint names them."""
    if trained is not None and tuple(trained) != tuple(given):
        raise ValueError(
            f"the run to resume was trained on the classes {', '.join(trained[1:])}, DATASETS.TRAIN now has "
            f"{', '.join(given[1:])}, in the order of their ids; resume with the data it began with, or "
            "start a new run with its checkpoint as MODEL.WEIGHT"
        )


def build_tester(
    cfg: ConfigNode, model: Detector, device: torch.device, trained_on: Classified | None = None
) -> Tester:
    """What tests the model on the datasets of DATASETS.TEST, labelled as the data that it is trained on."""
    data_loaders = make_data_loader(cfg, False, comm.is_distributed(), like=trained_on)
    options = make_evaluation_options(cfg, device, model.kind, model.iou_types)
    evaluators = make_evaluators(cfg, data_loaders, model.iou_types)
    return Tester(model, data_loaders, cfg.DATASETS.TEST, device, options, evaluators, [])


def train(run: Run) -> int:
    """Training, the tests in it and after it, and the report; returns the exit status."""
    start = run.arguments["iteration"]
    result = do_train(
        comm.distribute(run.model, run.device),
        run.data_loader,
        run.optimizer,
        run.scheduler,
        run.checkpointer,
        run.device,
        run.checkpoint_period,
        run.arguments,
        run.options,
        run.tester,
        run.hooks,
    )
    if result.stopped_by:
        return 128 + result.stopped_by
    if run.tester is None:
        return 0
    if start >= result.iteration or result.stopped_early:
        run.tester(True)  # the last iteration was not known to be the last, or was one of an earlier start
    return int(any(outcome.results.failed_expectations for outcome in run.tester.outcomes))


def build_and_replay(args: argparse.Namespace) -> dict[str, float]:
    """The losses of the iteration in the file of --replay."""
    cfg = make_config(args)
    device = resolve_device(cfg.MODEL.DEVICE, comm.launched_local_rank(args.local_rank))
    comm.init_process_group(device)
    model = build_detection_model(cfg).to(device)
    return replay(model, args.replay, device, resolve_precision(cfg.DTYPE, device, training=True))


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(make_parser(), argv)
    keep_freed_memory()
    with user_errors():
        if args.replay:
            print("losses:", build_and_replay(args))
            return 0
        run = build_run(args)
    try:
        status = train(run)
    except NonFiniteLossError as error:
        config = Path(run.checkpointer.save_dir) / CONFIG_FILE
        command = f"maskrcnn-benchmark train --config-file {config} --replay {error.replay_file}"
        logger.error("%s\nreplay it: %s", error, command)
        status = 1
    except DataFault as error:
        logger.error("%s", reason_of(error))
        status = 1
    except DiskFullError as error:
        logger.error("%s", error)
        status = 1
    comm.destroy_process_group()
    return status
