"""`evaluate`, from BoxLists in the network's frame to files and scores, against the family's own numbers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.coco.ground_truth import load_ground_truth
from maskrcnn_benchmark.data.datasets.detection_dataset import predictions_of_index
from maskrcnn_benchmark.data.datasets.evaluation import evaluate
from maskrcnn_benchmark.data.datasets.validation import DatasetError
from maskrcnn_benchmark.structures.bounding_box import BoxList

FAMILY = json.loads(Path(__file__).with_name("family_coco_evaluation.json").read_text())


@pytest.fixture
def dataset(tmp_path: Path) -> COCODataset:
    annotations = FAMILY["annotation_file"]
    (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    for image in annotations["images"]:
        cv2.imwrite(
            str(tmp_path / image["file_name"]), np.zeros((image["height"], image["width"], 3), np.uint8)
        )
    return COCODataset(str(tmp_path / "annotations.json"), str(tmp_path), False)


def family_predictions() -> list[BoxList]:
    """Detections in a frame of twice the image's size; masks by the fixture's `mask_rule`."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    distance = torch.hypot(y - 13.5, x - 13.5)
    predictions = []
    for image in FAMILY["evaluation"]["predictions"]:
        prediction = BoxList(
            torch.tensor(image["boxes"]).reshape(-1, 4), tuple(image["size_wh"]), mode="xyxy"
        )
        prediction.add_field("scores", torch.tensor(image["scores"]))
        prediction.add_field("labels", torch.tensor(image["labels"], dtype=torch.int64))
        masks = [(distance < 12 + n % 5).float() for n in range(len(image["boxes"]))]
        prediction.add_field("mask", torch.stack(masks)[:, None] if masks else torch.zeros(0, 1, 28, 28))
        predictions.append(prediction)
    return predictions


def empty_predictions(dataset: COCODataset) -> list[BoxList]:
    predictions = []
    for _ in range(len(dataset)):
        prediction = BoxList(torch.zeros(0, 4), (100, 100), mode="xyxy")
        prediction.add_field("scores", torch.zeros(0))
        prediction.add_field("labels", torch.zeros(0, dtype=torch.int64))
        predictions.append(prediction)
    return predictions


def test_family_records_and_scores(dataset: COCODataset, tmp_path: Path) -> None:
    expected = FAMILY["evaluation"]
    results = evaluate(dataset, family_predictions(), str(tmp_path / "out"), ("bbox", "segm"))

    boxes = json.loads((tmp_path / "out" / "bbox.json").read_text())
    assert len(boxes) == len(expected["bbox_results"])
    for record, wanted in zip(boxes, expected["bbox_results"], strict=True):
        assert (record["image_id"], record["category_id"]) == (wanted["image_id"], wanted["category_id"])
        assert record["bbox"] == pytest.approx(wanted["bbox"], abs=1e-4)
        assert record["score"] == pytest.approx(wanted["score"], abs=1e-7)

    masks = json.loads((tmp_path / "out" / "segm.json").read_text())
    assert len(masks) == len(expected["segm_results"])
    for record, wanted in zip(masks, expected["segm_results"], strict=True):
        assert "bbox" not in record, "a record with a box is scored by the box's area"
        assert (record["image_id"], record["category_id"]) == (wanted["image_id"], wanted["category_id"])
        assert record["segmentation"] == {"size": wanted["rle_size"], "counts": wanted["rle_counts"]}

    assert list(results.results["bbox"].values()) == pytest.approx(expected["bbox_stats"], abs=1e-12)
    assert list(results.results["segm"].values()) == pytest.approx(expected["segm_stats"], abs=1e-12)
    stored = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert stored["bbox"] == results.results["bbox"]
    assert stored["segm"] == results.results["segm"]
    assert [row["name"] for row in stored["per_class"]["segm"]] == ["a", "b", "c", "d"]
    assert "| b " in (tmp_path / "out" / "per_class.md").read_text()
    assert not list((tmp_path / "out").glob("*.tmp"))


def on_every_annotation(**values: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation.update(values)

    return change


def on_every_image(**values: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image.update(values)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(info={"year": "2017", "version": 2, "date_created": None}),
        lambda content: content.update(licenses=[{"id": "a", "name": None, "url": 3}]),
        on_every_image(license="CC BY", coco_url=None, date_captured=2017, flickr_url=5),
        on_every_annotation(license="CC BY", attributes={"occluded": True}, caption=4),
        lambda content: content["annotations"][4].update(iscrowd=False),
        lambda content: content["annotations"][4].update(iscrowd=0.0, info={"year": "2017"}),
        lambda content: content["categories"][0].update(supercategory=7, keypoints="none"),
    ],
    ids=["info", "licenses", "images", "annotations", "crowd", "crowd as a float", "categories"],
)
def test_what_no_score_rests_on_may_be_anything(
    dataset: COCODataset, change: Callable[[dict[str, Any]], None]
) -> None:
    """Exporters write much that the evaluator's reader refuses; scores stay those of the clean file."""
    content = json.loads(Path(dataset.annotation_file).read_text())
    change(content)
    Path(dataset.annotation_file).write_text(json.dumps(content))
    messy = COCODataset(dataset.annotation_file, dataset.image_folder, False)
    results = evaluate(messy, family_predictions(), None, ("bbox", "segm"))
    for iou_type in ("bbox", "segm"):
        assert list(results.results[iou_type].values()) == pytest.approx(
            FAMILY["evaluation"][f"{iou_type}_stats"], abs=1e-12
        )


def test_segmentations_of_no_form_do_not_disturb_boxes(dataset: COCODataset) -> None:
    content = json.loads(Path(dataset.annotation_file).read_text())
    for annotation, wrong in zip(content["annotations"], ["text", {"size": 5}, 3, None, {}], strict=False):
        annotation["segmentation"] = wrong
    Path(dataset.annotation_file).write_text(json.dumps(content))
    boxes_only = COCODataset(dataset.annotation_file, dataset.image_folder, False, masks=False)
    results = evaluate(boxes_only, family_predictions(), None, ("bbox",))
    assert list(results.results["bbox"].values()) == pytest.approx(
        FAMILY["evaluation"]["bbox_stats"], abs=1e-12
    )


def test_a_file_that_no_evaluator_reads_is_named(tmp_path: Path) -> None:
    content = {"images": [], "annotations": [], "categories": [{"id": -1, "name": "a"}], "info": 3}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"annotations\.json: the evaluator cannot read it"):
        load_ground_truth(str(tmp_path / "annotations.json"), True)


def test_predictions_may_be_encoded_before(dataset: COCODataset) -> None:
    encoded = [predictions_of_index(dataset, i, each, True) for i, each in enumerate(family_predictions())]
    results = evaluate(dataset, encoded, None, ("segm",))
    assert list(results.results) == ["segm"]
    assert list(results.results["segm"].values()) == pytest.approx(
        FAMILY["evaluation"]["segm_stats"], abs=1e-12
    )


def test_no_detections_warn_and_score_zero(dataset: COCODataset, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="maskrcnn_benchmark.inference"):
        results = evaluate(dataset, empty_predictions(dataset), None, ("bbox", "segm"))
    assert "No detections at all in 5 images" in caplog.text
    assert results.results["bbox"]["AP"] == 0
    assert results.results["segm"]["AP"] == 0


def test_missing_masks_are_named(dataset: COCODataset) -> None:
    predictions = [each.copy_with_fields(["scores", "labels"]) for each in family_predictions()]
    assert evaluate(dataset, predictions, None, ("bbox",)).results["bbox"]["AP"] > 0
    with pytest.raises(ValueError, match="the detector gave no masks"):
        evaluate(dataset, predictions, None, ("segm",))


def test_masks_need_a_dataset_with_masks(dataset: COCODataset) -> None:
    boxes_only = COCODataset(dataset.annotation_file, dataset.image_folder, False, masks=False)
    assert evaluate(boxes_only, family_predictions(), None, ("bbox",)).results["bbox"]["AP"] > 0
    with pytest.raises(ValueError, match=r"annotations\.json was read without masks"):
        evaluate(boxes_only, family_predictions(), None, ("segm",))


def test_unknown_iou_type(dataset: COCODataset) -> None:
    with pytest.raises(ValueError, match="'keypoints' is unknown; known: bbox, segm"):
        evaluate(dataset, family_predictions(), None, ("keypoints",))


def test_one_prediction_per_image(dataset: COCODataset) -> None:
    with pytest.raises(ValueError, match="4 predictions for a dataset of 5 images"):
        evaluate(dataset, family_predictions()[:4], None)


def test_other_datasets_are_refused() -> None:
    other: Any = [1, 2]
    with pytest.raises(NotImplementedError, match="no evaluation for a list"):
        evaluate(other, family_predictions()[:2], None)


def test_expected_results(dataset: COCODataset) -> None:
    expected = [["bbox", "AP", 0.6, 0.01], ["bbox", "AP50", [0.5, 0.01]], ["segm", "AP", 0.3, 0.1]]
    results = evaluate(dataset, family_predictions(), None, ("bbox",), expected, expected_results_sigma_tol=2)
    assert results.failed_expectations == [
        "bbox AP50: 0.7104 is outside 0.4800 .. 0.5200",
        "segm AP: expected 0.3, and it was not evaluated",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["bbox", "AP", 0.5], "should be"),
        (["bbox", "AP", "high", 0.1], "should be"),
        (["box", "AP", 0.5, 0.1], "IoU types: bbox, segm"),
        (["bbox", "mAP", 0.5, 0.1], "metrics: AP, AP50"),
    ],
)
def test_malformed_expected_results(dataset: COCODataset, row: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"TEST.EXPECTED_RESULTS: .*{message}"):
        evaluate(dataset, family_predictions(), None, ("bbox",), [row])
