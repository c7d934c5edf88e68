"""The optimizer and its learning-rate schedule."""

from maskrcnn_benchmark.solver.build import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.solver.lr_schedule import WarmupLR, WarmupMultiStepLR

__all__ = ["WarmupLR", "WarmupMultiStepLR", "make_lr_scheduler", "make_optimizer"]
