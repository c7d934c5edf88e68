"""Operators and layers without a detector in them."""

from maskrcnn_benchmark.layers.nms import batched_nms, nms

__all__ = [
    "batched_nms",
    "nms",
]
