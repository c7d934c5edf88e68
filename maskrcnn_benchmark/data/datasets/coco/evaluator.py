"""COCO's evaluation of detections, against an annotation file in COCO's format."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from maskrcnn_benchmark.data.datasets.coco.average_precision import METRICS, score_records
from maskrcnn_benchmark.data.datasets.coco.dataset import COCODataset
from maskrcnn_benchmark.data.datasets.coco.ground_truth import load_ground_truth
from maskrcnn_benchmark.data.datasets.coco.result_files import coco_records, write_records
from maskrcnn_benchmark.data.datasets.detection_dataset import predictions_of_index
from maskrcnn_benchmark.data.datasets.registry import EVALUATORS
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.evaluation import EvaluationResults
from maskrcnn_benchmark.structures.image_predictions import ImagePredictions
from maskrcnn_benchmark.utils.whole_file import open_whole

logger = logging.getLogger("maskrcnn_benchmark.inference")


@EVALUATORS.register("coco")
class COCOEvaluator:
    """COCO's twelve numbers for boxes and for masks; see `structures.evaluation.Evaluator`.

    Raises:
        ValueError: an unknown IoU type, or masks asked of a dataset that was read without.
    """

    metrics: Mapping[str, Sequence[str]] = MappingProxyType({"bbox": METRICS, "segm": METRICS})

    def __init__(self, dataset: COCODataset, iou_types: Sequence[str]) -> None:
        for iou_type in iou_types:
            if iou_type not in self.metrics:
                raise ValueError(f"iou_types: {iou_type!r} is unknown; known: {', '.join(self.metrics)}")
        # Where the file has no masks, the evaluator would take the boxes: another metric under the same name.
        if "segm" in iou_types and len(dataset) and not dataset.get_ground_truth(0).has_field("masks"):
            raise ValueError(
                f"{dataset.annotation_file} was read without masks, so masks can not be scored; "
                "evaluate boxes only (MODEL.MASK_ON False), or give COCODataset masks=True"
            )
        self.dataset = dataset
        self.iou_types = tuple(iou_types)
        self.with_masks = "segm" in iou_types

    def encode(self, index: int, prediction: BoxList) -> ImagePredictions:
        """See `Evaluator`; ValueError where masks are scored and the detector gave none."""
        return predictions_of_index(self.dataset, index, prediction, self.with_masks)

    def score(self, predictions: Sequence[ImagePredictions], output_folder: str | None) -> EvaluationResults:
        """See `Evaluator`. Files: bbox.json, segm.json, coco_results.json and per_class.md."""
        if output_folder:
            os.makedirs(output_folder, exist_ok=True)
        ground_truth = load_ground_truth(self.dataset.annotation_file, self.with_masks)
        num_detections = sum(len(image.boxes) for image in predictions)
        results = EvaluationResults(num_images=len(predictions), num_detections=num_detections)
        if num_detections == 0:
            logger.warning("No detections at all in %d images: every AP is 0", len(predictions))
        for iou_type in self.iou_types:
            records = list(coco_records(predictions, iou_type))
            if output_folder:
                write_records(os.path.join(output_folder, f"{iou_type}.json"), records)
            image_ids = [image.image_id for image in predictions]
            results.update(iou_type, score_records(ground_truth, records, iou_type, image_ids))
        if output_folder:
            _write_results(output_folder, results)
        return results


def _write_results(output_folder: str, results: EvaluationResults) -> None:
    with open_whole(os.path.join(output_folder, "coco_results.json")) as file:
        file.write(json.dumps(results.to_json(), indent=1) + "\n")
    with open_whole(os.path.join(output_folder, "per_class.md")) as file:
        file.write(results.per_class_table() + "\n")
