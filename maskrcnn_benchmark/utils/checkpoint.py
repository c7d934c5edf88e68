"""The family's path to the checkpointers, which stand in weights/checkpoint.py."""

from maskrcnn_benchmark.weights.checkpoint import Checkpointer, DetectronCheckpointer
from maskrcnn_benchmark.weights.load import Purpose

__all__ = ["Checkpointer", "DetectronCheckpointer", "Purpose"]
