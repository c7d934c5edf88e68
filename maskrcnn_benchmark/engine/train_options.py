"""How a training run goes, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.engine.precision import FLOAT32, Precision, resolve_precision
from maskrcnn_benchmark.structures.evaluation import AP_DECIDES, Deciding


@dataclass(frozen=True)
class TrainOptions:
    """What `do_train` is told beside its parts.

    Attributes:
        max_iter: iterations (optimizer steps) of the whole run.
        accumulation_steps: batches of the loader whose gradients make one step.
        precision: what numbers the forward pass computes in; float16 also scales the loss.
        clip_grad_norm: largest L2 norm of the gradient; 0 does not clip.
        log_period: iterations between two log lines.
        eval_period: iterations between two evaluations; 0 evaluates after the last one only.
        deciding: by which number model_best is kept; None keeps none.
    """

    max_iter: int
    accumulation_steps: int = 1
    precision: Precision = FLOAT32
    clip_grad_norm: float = 0.0
    log_period: int = 20
    eval_period: int = 0
    deciding: Deciding | None = AP_DECIDES


def make_train_options(cfg: ConfigNode, device: torch.device, deciding: Deciding | None) -> TrainOptions:
    """The options of SOLVER, DTYPE (as far as `device` computes in it) and TEST.EVAL_PERIOD."""
    return TrainOptions(
        max_iter=cfg.SOLVER.MAX_ITER,
        accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
        precision=resolve_precision(cfg.DTYPE, device, training=True),
        clip_grad_norm=cfg.SOLVER.CLIP_GRAD_NORM,
        log_period=cfg.SOLVER.LOG_PERIOD,
        eval_period=cfg.TEST.EVAL_PERIOD,
        deciding=deciding,
    )
