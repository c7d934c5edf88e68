"""The embedded dataset of drawn shapes."""

from maskrcnn_benchmark.data.datasets.shapes.draw import draw_shapes

__all__ = ["draw_shapes"]
