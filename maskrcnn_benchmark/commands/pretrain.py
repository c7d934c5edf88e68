"""Train a body as a classifier, for a detector to start from.

    python tools/pretrain_backbone.py --data ROOT --body V-39 OUTPUT_DIR output/v39 [KEY VALUE ...]
    torchrun --nproc_per_node=8 tools/pretrain_backbone.py --data ROOT --body V-39 DTYPE bfloat16 [...]

ROOT holds train/<class>/*.jpg and val/<class>/*.jpg. SGD with momentum 0.9 and weight decay 1e-4, rate 0.1
for 256 images (other batches in proportion), divided by ten after 30 and 60 epochs; random crops of 224
pixels and mirroring. OUTPUT_DIR gets backbone.pth and backbone.safetensors, which MODEL.WEIGHT takes as they
are: trainable batch norm becomes frozen batch norm. The pixel statistics are those of the config, so give the
--config-file and the keys that the detector will have. A VGG without norms wants a tenth of the rate
(SOLVER.BASE_LR) and pixels in units of their deviation (INPUT.PIXEL_STD), or its loss does not stay finite.

--resume continues the run that OUTPUT_DIR holds, exactly. SIGTERM and SIGINT end it after the iteration under
way, with a checkpoint. Exit status: 0 complete; 1 an error; 130 or 143 stopped by SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import logging

import torch
import yaml

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.data.classification import make_classification_loader
from maskrcnn_benchmark.data.datasets.image_folder import open_splits
from maskrcnn_benchmark.data.transforms.crops import CenterCrop, RandomResizedCrop
from maskrcnn_benchmark.engine.builtin_hooks import make_hooks
from maskrcnn_benchmark.engine.precision import resolve_precision
from maskrcnn_benchmark.engine.replay import NonFiniteLossError
from maskrcnn_benchmark.engine.start import make_seeded_config, start_run
from maskrcnn_benchmark.engine.train_options import make_train_options
from maskrcnn_benchmark.engine.trainer import do_train
from maskrcnn_benchmark.modeling.classifier import Classifier, build_classifier
from maskrcnn_benchmark.models.pretraining import Accuracy, build_epochs, make_pretrain_config, save_backbone
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.device import resolve_device
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory
from maskrcnn_benchmark.weights.checkpoint import Checkpointer

logger = logging.getLogger("maskrcnn_benchmark.pretrain")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, metavar="ROOT", help="folder with train/ and val/")
    parser.add_argument("--body", required=True, help="a body without a neck, such as V-39 or R-50")
    parser.add_argument("--config-file", metavar="FILE", help="config of the detector to come")
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--batch-size", type=int, default=256, help="images of a step, over all processes")
    parser.add_argument("--crop-size", type=int, default=224, help="side of the network's input, pixels")
    parser.add_argument("--resume", action="store_true", help="continue the run that OUTPUT_DIR holds")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, help="config keys to change: KEY VALUE KEY VALUE ..."
    )
    args = parser.parse_args()
    for name in ("epochs", "batch_size", "crop_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return args


def pretrain(cfg: ConfigNode, args: argparse.Namespace, device: torch.device) -> int:
    """Trains, tests after each epoch, and writes the body's weights; returns the exit status."""
    splits = open_splits(args.data, RandomResizedCrop(args.crop_size), CenterCrop(args.crop_size))
    cfg = make_seeded_config(build_epochs(cfg, args.epochs, len(splits[0])), args.resume)
    own = {"PRETRAIN": {"BODY": args.body, "CROP_SIZE": args.crop_size}}
    config = cfg.dump() + yaml.safe_dump(own)
    start_run(cfg.OUTPUT_DIR, config, args.resume, cfg.SEED, cfg.DETERMINISTIC)
    logger.info("%d classes, %d images to train on, %d to test on", splits[0].num_classes, *map(len, splits))
    model = build_classifier(cfg, args.body, splits[0].num_classes).to(device)
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    is_main = comm.is_main_process()
    checkpointer = Checkpointer(
        model, optimizer, scheduler, cfg.OUTPUT_DIR, is_main, keep=cfg.SOLVER.KEEP_CHECKPOINTS
    )
    arguments = {"iteration": 0} | (checkpointer.resume() if args.resume else {})
    start = arguments["iteration"]
    train_loader = make_classification_loader(cfg, splits[0], True, start)
    precision = resolve_precision(cfg.DTYPE, device, training=True)
    accuracy = Accuracy(model, make_classification_loader(cfg, splits[1], False), device, precision, {})
    result = do_train(
        comm.distribute(model, device),
        train_loader,
        optimizer,
        scheduler,
        checkpointer,
        device,
        cfg.SOLVER.CHECKPOINT_PERIOD,
        arguments,
        make_train_options(cfg, device),
        accuracy,
        make_hooks(cfg, start),
    )
    if result.stopped_by:
        return 128 + result.stopped_by
    finish(cfg, model, accuracy)
    return 0


def finish(cfg: ConfigNode, model: Classifier, accuracy: Accuracy) -> None:
    """Writes the body's weights and says how good the classifier is."""
    results = accuracy.results or accuracy(True)  # a run that was complete already is tested again
    if comm.is_main_process():
        path = save_backbone(cfg.OUTPUT_DIR, model.trunk, cfg.dump(), results)
        logger.info("top-1 %.2f %%, top-5 %.2f %%; MODEL.WEIGHT %s", *results.values(), path)


def main() -> int:
    args = parse_arguments()
    keep_freed_memory()
    try:
        cfg = make_pretrain_config(args.config_file, args.body, args.batch_size, args.opts)
        device = resolve_device(cfg.MODEL.DEVICE, comm.launched_local_rank())
        comm.init_process_group(device)
        status = pretrain(cfg, args, device)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error  # what a user can mend needs no traceback
    except NonFiniteLossError as error:
        logger.error("%s", error)
        status = 1
    comm.destroy_process_group()
    return status
