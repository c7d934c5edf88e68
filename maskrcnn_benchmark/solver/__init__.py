"""The optimizer and its learning-rate schedule."""

from maskrcnn_benchmark.solver.build import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.solver.lr_schedule import WarmupMultiStepLR

__all__ = ["WarmupMultiStepLR", "make_lr_scheduler", "make_optimizer"]
