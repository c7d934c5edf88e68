"""Training a body as a classifier: the recipe, the accuracy, and the weights for a detector."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from maskrcnn_benchmark.config import ConfigNode, load_config
from maskrcnn_benchmark.engine.precision import Precision, running_in
from maskrcnn_benchmark.modeling.backbone.vgg import VGG_LAYERS
from maskrcnn_benchmark.modeling.classifier import detector_state, labels_of
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.plain_file import save_plain
from maskrcnn_benchmark.weights.provenance import FORMAT, VERSION
from maskrcnn_benchmark.weights.publish import SUFFIX, save_publishable

BASE_LR, BASE_BATCH = 0.1, 256  # the learning rate for that many images; others in proportion
DROP_EPOCHS = (30, 60)  # epochs after which the learning rate is divided by ten
BACKBONE_FILE = "backbone"


def make_pretrain_config(
    config_file: str | None, body: str, batch_size: int, opts: Sequence[str] = ()
) -> ConfigNode:
    """The config of a detector's file with the solver of ImageNet training (He et al. 2016, section 3.4).

    SGD, one learning rate for weights and biases, weight decay 1e-4 on all of them, trainable batch norm
    except in the VGGs without norms. `opts` (KEY VALUE pairs) override all of it.

    Raises:
        ValueError: `opts` do not fit, or name weights: a body is trained from random numbers.
    """
    recipe: dict[str, Any] = {
        "MODEL.BACKBONE.CONV_BODY": f"{body}-FPN",
        "MODEL.BACKBONE.FREEZE_CONV_BODY_AT": 0,
        "MODEL.BACKBONE.NORM": "" if body in VGG_LAYERS else "BN",
        "MODEL.WEIGHT": "",
        "SOLVER.IMS_PER_BATCH": batch_size,
        "SOLVER.BASE_LR": BASE_LR * batch_size / BASE_BATCH,
        "SOLVER.BIAS_LR_FACTOR": 1.0,
        "SOLVER.MOMENTUM": 0.9,
        "SOLVER.WEIGHT_DECAY": 1e-4,
        "SOLVER.WEIGHT_DECAY_BIAS": 1e-4,
        "SOLVER.LR_SCHEDULE": "multistep",
        "SOLVER.GAMMA": 0.1,
        "SOLVER.WARMUP_ITERS": 0,
        "SOLVER.KEEP_CHECKPOINTS": 1,
        "DATALOADER.SIZE_DIVISIBILITY": 0,
    }
    config = load_config(config_file, [*(item for pair in recipe.items() for item in pair), *opts])
    if config.MODEL.WEIGHT:
        raise ValueError(
            f"MODEL.WEIGHT {config.MODEL.WEIGHT!r}: pretraining starts from random numbers and takes no "
            "weights; leave the key out (--resume continues a run)"
        )
    return config


def build_epochs(cfg: ConfigNode, epochs: int, num_images: int) -> ConfigNode:
    """The config with `epochs` over `num_images` as iterations; evaluated and saved after each epoch."""
    per_epoch = -(-num_images // cfg.SOLVER.IMS_PER_BATCH)
    counted = cfg.clone()
    counted.defrost()
    counted.SOLVER.MAX_ITER = epochs * per_epoch
    # the first iteration of the epoch after the drop
    counted.SOLVER.STEPS = tuple(epoch * per_epoch + 1 for epoch in DROP_EPOCHS)
    counted.SOLVER.CHECKPOINT_PERIOD = per_epoch
    counted.TEST.EVAL_PERIOD = per_epoch
    counted.freeze()
    return counted


@dataclass
class Accuracy:
    """Tests a classifier: what `do_train` calls after each epoch; `results` are the last ones."""

    model: nn.Module
    data_loader: Iterable[Any]
    device: torch.device
    precision: Precision
    results: Mapping[str, float]

    def __call__(self, is_last: bool) -> Mapping[str, float]:
        share_statistics(self.model)
        self.results = measure_accuracy(self.model, self.data_loader, self.device, self.precision)
        return self.results


@torch.no_grad()
def measure_accuracy(
    model: nn.Module, data_loader: Iterable[Any], device: torch.device, precision: Precision
) -> dict[str, float]:
    """Percentage of the images whose class comes first (val/top1), or among the first five (val/top5).

    Over all processes, each of which brings its part of the images; the model is left in evaluation mode.
    """
    model.eval()
    first, among_five, count = (torch.zeros((), device=device, dtype=torch.float64) for _ in range(3))
    for images, targets, _ in data_loader:
        with running_in(model, precision, device):
            logits = model(images.to(device, non_blocking=True))
        labels = labels_of(targets).to(device, non_blocking=True)
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels.unsqueeze(1)  # [N, 5]
        first += best[:, 0].sum()
        among_five += best.any(dim=1).sum()
        count += len(labels)
    sums = comm.reduce_dict({"count": count, "first": first, "five": among_five}, average=False)
    total = max(float(sums["count"]), 1.0)
    return {"val/top1": 100 * float(sums["first"]) / total, "val/top5": 100 * float(sums["five"]) / total}


def share_statistics(model: nn.Module) -> None:
    """Gives every process the running statistics of the main one, which are those that are saved."""
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def save_backbone(
    folder: str | os.PathLike[str], body: nn.Module, config: str, results: Mapping[str, float]
) -> str:
    """Writes backbone.pth and backbone.safetensors, each of which MODEL.WEIGHT takes; returns the former.

    `config`: yaml text; it tells a loader the pixel statistics, among others. `results`: metrics by name.
    """
    state = detector_state(body)
    path = os.path.join(folder, f"{BACKBONE_FILE}.pth")
    description = {"format": FORMAT, "version": VERSION, "config": config, "class_names": None}
    save_plain(path, {**description, "model": state, "results": dict(results)})
    save_publishable(
        os.path.join(folder, BACKBONE_FILE + SUFFIX), state, config=config, metrics=dict(results)
    )
    return path
