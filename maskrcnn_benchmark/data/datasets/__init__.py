"""Datasets: what they hold, how they are read, checked and scored; a kind is known once imported here."""

from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.concat_dataset import ConcatDataset
from maskrcnn_benchmark.data.datasets.detection_dataset import DetectionDataset, OpenOptions
from maskrcnn_benchmark.data.datasets.registry import DATASETS, EVALUATORS
from maskrcnn_benchmark.data.datasets.validation import DatasetError

__all__ = [
    "DATASETS",
    "EVALUATORS",
    "COCODataset",
    "ConcatDataset",
    "DatasetError",
    "DetectionDataset",
    "OpenOptions",
]
