"""Data sets: what they hold, how they are read and checked."""

from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.concat_dataset import ConcatDataset
from maskrcnn_benchmark.data.datasets.validation import DatasetError

__all__ = ["COCODataset", "ConcatDataset", "DatasetError"]
