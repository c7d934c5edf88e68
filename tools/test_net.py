"""Test a detector on every data set of DATASETS.TEST.

    python tools/test_net.py --config-file FILE MODEL.WEIGHT path.pth TEST.IMS_PER_BATCH 1
    torchrun --nproc_per_node=8 tools/test_net.py --config-file FILE MODEL.WEIGHT path.pth

Writes OUTPUT_DIR/inference/<data set>/ (results, a picture) and OUTPUT_DIR/report.md. Ends with status 1
where a number misses TEST.EXPECTED_RESULTS.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from typing import Any

import torch

from maskrcnn_benchmark.config import ConfigNode, load_config
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.engine.full_test import EvaluationOptions, make_evaluation_options, run_test
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.utils.device import resolve_device
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory
from maskrcnn_benchmark.utils.logger import setup_logger


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="path to a config file")
    parser.add_argument("--ckpt", default="", metavar="FILE", help="weights to test, instead of MODEL.WEIGHT")
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help="set by torch.distributed.launch"
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, help="config keys to change: KEY VALUE KEY VALUE ..."
    )
    return parser.parse_args()


def weights_file(cfg: ConfigNode, ckpt: str) -> str:
    """The file to test; ValueError where none is named, because a test of random weights is nobody's wish."""
    if ckpt or cfg.MODEL.WEIGHT:
        return str(ckpt or cfg.MODEL.WEIGHT)
    final = os.path.join(cfg.OUTPUT_DIR, "model_final.pth")
    hint = f"; this run has {final}" if os.path.exists(final) else ""
    raise ValueError(f"no weights to test: give MODEL.WEIGHT path.pth, or --ckpt path.pth{hint}")


@dataclass
class Prepared:
    """Everything a test needs, checked and ready."""

    model: torch.nn.Module
    data_loaders: list[Any]
    device: torch.device
    options: EvaluationOptions


def prepare(args: argparse.Namespace) -> tuple[ConfigNode, Prepared]:
    """Builds everything and so finds, before the first image, whatever does not fit (ValueError)."""
    cfg = load_config(args.config_file, args.opts)
    weights = weights_file(cfg, args.ckpt)
    device = resolve_device(cfg.MODEL.DEVICE, comm.launched_local_rank(args.local_rank))
    comm.init_process_group(device)
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    setup_logger("maskrcnn_benchmark", cfg.OUTPUT_DIR, comm.get_rank(), "test_log.txt")
    data_loaders = make_data_loader(cfg, is_train=False, is_distributed=comm.is_distributed())
    model = build_detection_model(cfg).to(device)
    DetectronCheckpointer(cfg, model, save_dir=cfg.OUTPUT_DIR).load(weights, partial=cfg.MODEL.WEIGHT_PARTIAL)
    return cfg, Prepared(model, data_loaders, device, make_evaluation_options(cfg, device))


def main() -> int:
    args = parse_arguments()
    keep_freed_memory()
    try:
        cfg, ready = prepare(args)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error  # what a user can mend needs no traceback
    rows = run_test(ready.model, ready.data_loaders, cfg.DATASETS.TEST, ready.device, ready.options)
    comm.destroy_process_group()
    return int(any(row.results.failed_expectations for row in rows))


if __name__ == "__main__":
    sys.exit(main())
