"""Train a body as a classifier, for a detector to start from.

    maskrcnn-benchmark pretrain --data ROOT --body V-39 OUTPUT_DIR output/v39 DTYPE bfloat16
    torchrun --nproc_per_node=8 -m maskrcnn_benchmark pretrain --data ROOT --body V-39

ROOT holds train/<class>/*.jpg and val/<class>/*.jpg. OUTPUT_DIR gets backbone.pth and
backbone.safetensors, which MODEL.WEIGHT takes as they are. SIGTERM and SIGINT end the run after the
iteration under way, with a checkpoint; --resume continues it exactly.

Exit status: 0 complete; 1 an error; 130 or 143 stopped by SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import yaml

from maskrcnn_benchmark.commands.command_line import add_config_keys, named_parser, parse, user_errors
from maskrcnn_benchmark.data.classification import make_classification_loader
from maskrcnn_benchmark.data.datasets.image_folder import open_splits
from maskrcnn_benchmark.data.transforms.crops import CenterCrop, RandomResizedCrop
from maskrcnn_benchmark.engine.builtin_hooks import make_hooks
from maskrcnn_benchmark.engine.hooks import Hook
from maskrcnn_benchmark.engine.precision import resolve_precision
from maskrcnn_benchmark.engine.replay import NonFiniteLossError
from maskrcnn_benchmark.engine.start import make_seeded_config, start_run
from maskrcnn_benchmark.engine.train_options import TrainOptions, make_train_options
from maskrcnn_benchmark.engine.trainer import do_train
from maskrcnn_benchmark.modeling.classifier import Classifier, build_classifier
from maskrcnn_benchmark.models.pretraining import Accuracy, build_epochs, make_pretrain_config, save_backbone
from maskrcnn_benchmark.solver import WarmupLR, make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.device import resolve_device
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory
from maskrcnn_benchmark.utils.user_module import import_user_modules
from maskrcnn_benchmark.weights.checkpoint import Checkpointer

logger = logging.getLogger("maskrcnn_benchmark.pretrain")


def make_parser() -> argparse.ArgumentParser:
    parser = named_parser("pretrain", "--data ROOT --body NAME [OPTIONS] [KEY VALUE ...]", __doc__)
    parser.add_argument("--data", required=True, metavar="ROOT", help="folder with train/ and val/")
    parser.add_argument("--body", required=True, metavar="NAME", help="a body without a neck, such as V-39")
    parser.add_argument("--config-file", metavar="FILE", help="config of the detector to come")
    parser.add_argument("--epochs", type=int, default=90, metavar="N", help="default: 90")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="over all processes (256)")
    parser.add_argument("--crop-size", type=int, default=224, metavar="PIXELS", help="of the input (224)")
    parser.add_argument("--resume", action="store_true", help="continue the run that OUTPUT_DIR holds")
    add_config_keys(parser)
    return parser


@dataclass
class Pretraining:
    """The parts of a run, checked and ready."""

    model: Classifier
    optimizer: torch.optim.Optimizer
    scheduler: WarmupLR
    checkpointer: Checkpointer
    data_loader: Any
    device: torch.device
    checkpoint_period: int
    arguments: dict[str, Any]
    options: TrainOptions
    accuracy: Accuracy
    hooks: list[Hook]
    config: str  # of the detector to come, as yaml


def build_pretraining(args: argparse.Namespace) -> Pretraining:
    """Builds everything and so finds, before the first iteration, whatever does not fit (ValueError).

    The recipe: SGD with momentum 0.9 and weight decay 1e-4, learning rate 0.1 for 256 images (other batches
    in proportion), divided by ten after 30 and 60 epochs; random crops and mirroring. The pixel statistics
    are those of the config, so that the weights fit the detector to come. A VGG without norms needs a tenth
    of the learning rate and pixels in units of their deviation, or its loss does not stay finite.
    """
    cfg = make_pretrain_config(args.config_file, args.body, args.batch_size, args.opts)
    import_user_modules([*cfg.IMPORTS, *args.imports])
    device = resolve_device(cfg.MODEL.DEVICE, comm.launched_local_rank())
    comm.init_process_group(device)
    splits = open_splits(args.data, RandomResizedCrop(args.crop_size), CenterCrop(args.crop_size))
    cfg = make_seeded_config(build_epochs(cfg, args.epochs, len(splits[0])), args.resume)
    own = {"PRETRAIN": {"BODY": args.body, "CROP_SIZE": args.crop_size}}
    start_run(cfg.OUTPUT_DIR, cfg.dump() + yaml.safe_dump(own), args.resume, cfg.SEED, cfg.DETERMINISTIC)
    logger.info("%d classes, %d images to train on, %d to test on", splits[0].num_classes, *map(len, splits))
    model = build_classifier(cfg, args.body, splits[0].num_classes).to(device)
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    keep, is_main = cfg.SOLVER.KEEP_CHECKPOINTS, comm.is_main_process()
    checkpointer = Checkpointer(model, optimizer, scheduler, cfg.OUTPUT_DIR, is_main, keep=keep)
    arguments = {"iteration": 0} | (checkpointer.resume() if args.resume else {})
    precision = resolve_precision(cfg.DTYPE, device, training=True)
    return Pretraining(
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
        checkpointer=checkpointer,
        data_loader=make_classification_loader(cfg, splits[0], True, arguments["iteration"]),
        device=device,
        checkpoint_period=cfg.SOLVER.CHECKPOINT_PERIOD,
        arguments=arguments,
        options=make_train_options(cfg, device, deciding=None),
        accuracy=Accuracy(model, make_classification_loader(cfg, splits[1], False), device, precision, {}),
        hooks=make_hooks(cfg, arguments["iteration"], deciding=None),
        config=cfg.dump(),
    )


def pretrain(run: Pretraining) -> int:
    """Trains, tests after each epoch, and writes the body's weights; returns the exit status."""
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
        run.accuracy,
        run.hooks,
    )
    if result.stopped_by:
        return 128 + result.stopped_by
    results = run.accuracy.results or run.accuracy(True)  # a run that was complete already is tested again
    if comm.is_main_process():
        path = save_backbone(run.checkpointer.save_dir, run.model.trunk, run.config, results)
        logger.info("top-1 %.2f %%, top-5 %.2f %%; MODEL.WEIGHT %s", *results.values(), path)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    args = parse(parser, argv)
    for name in ("epochs", "batch_size", "crop_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    keep_freed_memory()
    try:
        with user_errors():
            status = pretrain(build_pretraining(args))
    except NonFiniteLossError as error:
        logger.error("%s", error)
        status = 1
    comm.destroy_process_group()
    return status
