"""The family's path to the evaluation of a dataset in COCO's format, which its evaluator does."""

from maskrcnn_benchmark.data.datasets.evaluation import evaluate as coco_evaluation

__all__ = ["coco_evaluation"]
