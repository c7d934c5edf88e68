"""Test a detector on every dataset of DATASETS.TEST.

    maskrcnn-benchmark test MODEL.WEIGHT model_final.safetensors TEST.IMS_PER_BATCH 1
    maskrcnn-benchmark test --config-file FILE MODEL.WEIGHT path.pth
    torchrun --nproc_per_node=8 -m maskrcnn_benchmark test --config-file FILE MODEL.WEIGHT path.pth

Without --config-file the config is the one that the weights file holds; keys given still change it.
Files of this project hold their config, those of others do not.

Writes OUTPUT_DIR/inference/<dataset>/ (results, a picture) and OUTPUT_DIR/report.md.
Exit status: 0; 1 an error, or a number that misses TEST.EXPECTED_RESULTS.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
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
from maskrcnn_benchmark.config import ConfigNode, load_config_text
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.datasets.evaluation import make_evaluators
from maskrcnn_benchmark.engine.full_test import EvaluationOptions, make_evaluation_options, run_test
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.evaluation import Evaluator
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.data_fault import DataFault, reason_of
from maskrcnn_benchmark.utils.device import resolve_device
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory
from maskrcnn_benchmark.utils.logger import setup_logger
from maskrcnn_benchmark.utils.run_folder import make_writable_folder
from maskrcnn_benchmark.utils.user_module import import_user_modules
from maskrcnn_benchmark.weights.checkpoint import Checkpointer, DetectronCheckpointer
from maskrcnn_benchmark.weights.load import Purpose
from maskrcnn_benchmark.weights.publish import config_inside
from maskrcnn_benchmark.weights.sources.resolve import read_named
from maskrcnn_benchmark.weights.sources.user_catalogue import build_weights_name

logger = logging.getLogger("maskrcnn_benchmark.test_net")


def make_parser() -> argparse.ArgumentParser:
    parser = named_parser("test", "[OPTIONS] [KEY VALUE ...]", __doc__)
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="default: the config in the weights"
    )
    parser.add_argument("--ckpt", default="", metavar="FILE", help="weights to test, instead of MODEL.WEIGHT")
    add_local_rank(parser)
    add_config_keys(parser)
    return parser


def make_test_config(args: argparse.Namespace) -> tuple[ConfigNode, str]:
    """The config, and the file to test; ValueError where none is named: random weights test nothing.

    The config inside a file of weights imports nothing; --import and the key IMPORTS of the command line do.
    """
    keys = dict(zip(args.opts[0::2], args.opts[1::2], strict=False))
    if args.config_file:
        cfg = make_config(args)
        weights = args.ckpt or build_weights_name(cfg)
    elif weights := args.ckpt or keys.get("MODEL.WEIGHT", ""):
        raw = read_named(weights)
        cfg = load_config_text(config_inside(raw), str(raw.path), args.opts, args.imports)
        import_user_modules(cfg.IMPORTS)
    if weights:
        return cfg, weights
    hint = trained_here(cfg.OUTPUT_DIR if args.config_file else ".")
    raise ValueError(f"no weights to test: give MODEL.WEIGHT path.pth, or --ckpt path.pth{hint}")


def trained_here(folder: str) -> str:
    """Where a run's own weights lie, as the end of a message; "" where it has none."""
    final = os.path.join(folder, "model_final.pth")
    return f"; this run has {final}" if os.path.exists(final) else ""


def load_for_test(checkpointer: Checkpointer, weights: str, allow_partial: bool, origin: str) -> None:
    """Takes the weights to test; ValueError where they do not cover the detector and its classes.

    origin: where they are named, if that is not the command line.
    """
    try:
        checkpointer.load(weights, Purpose.USE, allow_partial)
    except ValueError as error:
        if not origin:
            raise
        raise ValueError(
            f"{error}\nNone were named on the command line, so these are those of {origin}"
        ) from error


@dataclass
class DetectorTest:
    """Everything a test needs, checked and ready."""

    model: torch.nn.Module
    data_loaders: list[Any]
    names: tuple[str, ...]
    evaluators: list[Evaluator]
    device: torch.device
    options: EvaluationOptions


def build_test(args: argparse.Namespace) -> DetectorTest:
    """Builds everything and so finds, before the first image, whatever does not fit (ValueError)."""
    cfg, weights = make_test_config(args)
    device = resolve_device(cfg.MODEL.DEVICE, comm.launched_local_rank(args.local_rank))
    comm.init_process_group(device)
    make_writable_folder(cfg.OUTPUT_DIR)
    setup_logger("maskrcnn_benchmark", cfg.OUTPUT_DIR, comm.get_rank(), "test_log.txt")
    data_loaders = make_data_loader(cfg, is_train=False, is_distributed=comm.is_distributed())
    model = build_detection_model(cfg).to(device)
    evaluators = make_evaluators(cfg, data_loaders, model.iou_types)
    checkpointer = DetectronCheckpointer(cfg, model, class_names=data_loaders[0].dataset.class_names)
    given = args.opts[0::2]
    origin = ""
    if not args.ckpt and "MODEL.WEIGHT" not in given:
        origin = f"MODEL.WEIGHT in {args.config_file}{trained_here(cfg.OUTPUT_DIR)}"
    # in a config file it says how training starts, not that a test may score random weights
    allow_partial = cfg.MODEL.WEIGHT_PARTIAL and "MODEL.WEIGHT_PARTIAL" in given
    load_for_test(checkpointer, weights, allow_partial, origin)
    options = make_evaluation_options(cfg, device, model.kind, model.iou_types)
    return DetectorTest(model, data_loaders, cfg.DATASETS.TEST, evaluators, device, options)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(make_parser(), argv)
    keep_freed_memory()
    with user_errors():
        ready = build_test(args)
    try:
        outcomes = run_test(
            ready.model,
            ready.data_loaders,
            ready.names,
            ready.device,
            ready.options,
            ready.evaluators,
            partial(publish_results, ready.options, ready.device),
        )
    except DataFault as error:
        logger.error("%s", reason_of(error))
        return 1
    comm.destroy_process_group()
    return int(any(outcome.results.failed_expectations for outcome in outcomes))
