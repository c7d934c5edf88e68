"""Datasets in COCO's format: reader and evaluator."""

from maskrcnn_benchmark.data.datasets.coco.dataset import COCODataset

__all__ = ["COCODataset"]
