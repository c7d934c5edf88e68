"""Datasets in COCO's format: reader and evaluator."""

from maskrcnn_benchmark.data.datasets.coco.dataset import COCODataset
from maskrcnn_benchmark.data.datasets.coco.evaluator import COCOEvaluator

__all__ = ["COCODataset", "COCOEvaluator"]
