"""Test a detector on every dataset of DATASETS.TEST.

    python tools/test_net.py MODEL.WEIGHT model_final.safetensors TEST.IMS_PER_BATCH 1
    python tools/test_net.py --config-file FILE MODEL.WEIGHT path.pth TEST.IMS_PER_BATCH 1
    torchrun --nproc_per_node=8 tools/test_net.py --config-file FILE MODEL.WEIGHT path.pth

Without --config-file the config is the one that the weights file holds; keys given still change it. Files of
this project hold their config, those of others do not.

Writes OUTPUT_DIR/inference/<dataset>/ (results, a picture) and OUTPUT_DIR/report.md. Ends with status 1
where a number misses TEST.EXPECTED_RESULTS.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from maskrcnn_benchmark.analysis.run_report import publish_results
from maskrcnn_benchmark.config import ConfigNode, load_config, load_config_text
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.datasets.evaluation import make_evaluators
from maskrcnn_benchmark.engine.full_test import EvaluationOptions, make_evaluation_options, run_test
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.evaluation import Evaluator
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.device import resolve_device
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory
from maskrcnn_benchmark.utils.logger import setup_logger
from maskrcnn_benchmark.utils.run_folder import make_writable_folder
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.publish import config_inside
from maskrcnn_benchmark.weights.sources.named import read_named
from maskrcnn_benchmark.weights.sources.user_catalogue import build_weights_name


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="path to a config file; default: the weights' own"
    )
    parser.add_argument("--ckpt", default="", metavar="FILE", help="weights to test, instead of MODEL.WEIGHT")
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help="set by torch.distributed.launch"
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, help="config keys to change: KEY VALUE KEY VALUE ..."
    )
    return parser.parse_args()


def settle_config(args: argparse.Namespace) -> tuple[ConfigNode, str]:
    """The config, and the file to test; ValueError where none is named: random weights test nothing."""
    keys = dict(zip(args.opts[0::2], args.opts[1::2], strict=False))
    if args.config_file:
        cfg = load_config(args.config_file, args.opts)
        weights = args.ckpt or build_weights_name(cfg)
    elif weights := args.ckpt or keys.get("MODEL.WEIGHT", ""):
        raw = read_named(weights)
        cfg = load_config_text(config_inside(raw), str(raw.path), args.opts)
    if weights:
        return cfg, weights
    final = os.path.join(cfg.OUTPUT_DIR if args.config_file else ".", "model_final.pth")
    hint = f"; this run has {final}" if os.path.exists(final) else ""
    raise ValueError(f"no weights to test: give MODEL.WEIGHT path.pth, or --ckpt path.pth{hint}")


@dataclass
class Prepared:
    """Everything a test needs, checked and ready."""

    model: torch.nn.Module
    data_loaders: list[Any]
    evaluators: list[Evaluator]
    device: torch.device
    options: EvaluationOptions


def prepare(args: argparse.Namespace) -> tuple[ConfigNode, Prepared]:
    """Builds everything and so finds, before the first image, whatever does not fit (ValueError)."""
    cfg, weights = settle_config(args)
    device = resolve_device(cfg.MODEL.DEVICE, comm.launched_local_rank(args.local_rank))
    comm.init_process_group(device)
    make_writable_folder(cfg.OUTPUT_DIR)
    setup_logger("maskrcnn_benchmark", cfg.OUTPUT_DIR, comm.get_rank(), "test_log.txt")
    data_loaders = make_data_loader(cfg, is_train=False, is_distributed=comm.is_distributed())
    evaluators = make_evaluators(cfg, data_loaders)
    model = build_detection_model(cfg).to(device)
    checkpointer = DetectronCheckpointer(cfg, model, class_names=data_loaders[0].dataset.class_names)
    checkpointer.load(weights, partial=cfg.MODEL.WEIGHT_PARTIAL)
    return cfg, Prepared(model, data_loaders, evaluators, device, make_evaluation_options(cfg, device))


def main() -> int:
    args = parse_arguments()
    keep_freed_memory()
    try:
        cfg, ready = prepare(args)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error  # what a user can mend needs no traceback
    outcomes = run_test(
        ready.model,
        ready.data_loaders,
        cfg.DATASETS.TEST,
        ready.device,
        ready.options,
        ready.evaluators,
        partial(publish_results, ready.options, ready.device),
    )
    comm.destroy_process_group()
    return int(any(outcome.results.failed_expectations for outcome in outcomes))
