"""Evaluation of detections on a data set in COCO's format."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

from maskrcnn_benchmark.data.datasets.coco.average_precision import score_records
from maskrcnn_benchmark.data.datasets.coco.dataset import COCODataset
from maskrcnn_benchmark.data.datasets.coco.ground_truth import load_ground_truth
from maskrcnn_benchmark.data.datasets.coco.predictions import (
    RLE,
    ImagePredictions,
    coco_records,
    image_predictions,
)
from maskrcnn_benchmark.data.datasets.coco.results import TITLES, COCOResults, failed_expectations
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.whole_file import open_whole

__all__ = ["RLE", "COCOResults", "ImagePredictions", "coco_evaluation", "predictions_of_index"]

logger = logging.getLogger("maskrcnn_benchmark.inference")


def predictions_of_index(
    dataset: COCODataset, index: int, prediction: BoxList, with_masks: bool
) -> ImagePredictions:
    """The detections of image `index` in the frame and under the ids of the data set's annotation file."""
    info = dataset.get_img_info(index)
    return image_predictions(
        prediction,
        image_id=int(info["id"]),
        image_hw=(int(info["height"]), int(info["width"])),
        label_to_category_id=dataset.contiguous_category_id_to_json_id.__getitem__,
        with_masks=with_masks,
    )


def coco_evaluation(
    dataset: COCODataset,
    predictions: Sequence[BoxList | ImagePredictions],
    output_folder: str | None,
    iou_types: Sequence[str],
    expected_results: Sequence[Sequence[Any]],
    expected_results_sigma_tol: float,
) -> COCOResults:
    """See `evaluate`."""
    _check_iou_types(dataset, iou_types)
    with_masks = "segm" in iou_types
    ground_truth = load_ground_truth(dataset.annotation_file, with_masks)
    images = [
        each if isinstance(each, ImagePredictions) else predictions_of_index(dataset, index, each, with_masks)
        for index, each in enumerate(predictions)
    ]
    results = COCOResults(num_images=len(images), num_detections=sum(len(image.boxes) for image in images))
    if results.num_detections == 0:
        logger.warning("No detections at all in %d images: every AP is 0", len(images))
    for iou_type in iou_types:
        records = list(coco_records(images, iou_type))
        if output_folder:
            _write_records(os.path.join(output_folder, f"{iou_type}.json"), records)
        image_ids = [image.image_id for image in images]
        results.update(iou_type, score_records(ground_truth, records, iou_type, image_ids))
    results.failed_expectations = failed_expectations(results, expected_results, expected_results_sigma_tol)
    if output_folder:
        _write_results(output_folder, results)
    return results


def _check_iou_types(dataset: COCODataset, iou_types: Sequence[str]) -> None:
    for iou_type in iou_types:
        if iou_type not in TITLES:
            raise ValueError(f"iou_types: {iou_type!r} is unknown; known: {', '.join(TITLES)}")
    # Where the file has no masks, the evaluator would take the boxes: another metric under the same name.
    if "segm" in iou_types and len(dataset) and not dataset.get_ground_truth(0).has_field("masks"):
        raise ValueError(
            f"{dataset.annotation_file} was read without masks, so masks can not be scored; "
            "evaluate boxes only (MODEL.MASK_ON False), or give COCODataset masks=True"
        )


def _write_records(path: str, records: Iterable[dict[str, Any]]) -> None:
    """COCO's result format, a record per line. (For the whole list, `json.dump` is slow.)"""
    with open_whole(path) as file:
        file.write("[")
        for number, record in enumerate(records):
            file.write(("," if number else "") + "\n" + json.dumps(record))
        file.write("\n]\n")


def _write_results(output_folder: str, results: COCOResults) -> None:
    with open_whole(os.path.join(output_folder, "coco_results.json")) as file:
        file.write(json.dumps(results.to_json(), indent=1) + "\n")
    with open_whole(os.path.join(output_folder, "per_class.md")) as file:
        file.write(results.per_class_table() + "\n")
