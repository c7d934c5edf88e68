"""COCODataset against the family's numbers and against pycocotools reading the same file."""

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskrcnn_benchmark.data.datasets import COCODataset, ConcatDataset, DatasetError
from maskrcnn_benchmark.data.datasets.coco.segments import run_length_total

GOLDEN = json.loads((Path(__file__).parent / "fixtures" / "coco.json").read_text())


@pytest.mark.parametrize("split", ["train", "test"])
def test_golden_targets(write_coco, split: str) -> None:
    files = write_coco(GOLDEN["annotation_file"])
    dataset = COCODataset(str(files.annotation_file), str(files.image_folder), split == "train")
    assert dataset.ids == GOLDEN[f"{split}_ids"]
    assert dict(dataset.id_to_img_map) == dict(enumerate(GOLDEN[f"{split}_ids"]))
    assert dataset.class_names == ("__background__", "a", "b", "c", "d")
    assert {str(k): v for k, v in dataset.json_category_id_to_contiguous_id.items()} == GOLDEN[
        "json_category_id_to_contiguous_id"
    ]
    for expected in GOLDEN[f"{split}_targets"]:
        image, target, index = dataset[expected["index"]]
        assert index == expected["index"]
        assert list(target.size) == expected["size_wh"] == [image.shape[2], image.shape[1]]
        np.testing.assert_allclose(target.bbox, np.reshape(expected["boxes"], (-1, 4)), rtol=1e-6)
        assert target.get_field("labels").tolist() == expected["labels"]
        assert target.get_field("labels").dtype == torch.int64  # also without objects, unlike the family
        masks = target.get_field("masks")
        polygons = [[p.flatten().tolist() for p in masks.polygons(g)] for g in range(len(masks))]
        assert polygons == (expected["polygons"] or [])


def all_kinds() -> dict:
    """Polygons in several parts, run lengths of both kinds, crowds, an image without objects."""
    rng = np.random.default_rng(0)
    images = [{"id": k, "file_name": f"{k}.png", "width": 50, "height": 40} for k in (9, 2, 5)]
    annotations = []
    for number in range(12):
        mask = np.zeros((40, 50), np.uint8)
        for _ in range(2):
            y, x = rng.integers(0, 30, 2)
            mask[y : y + rng.integers(3, 10), x : x + rng.integers(3, 10)] = 1
        rle = coco_mask.encode(np.asfortranarray(mask))
        if number % 3 == 0:
            segmentation = [rng.uniform(0, 40, 8).tolist() for _ in range(1 + number % 2)]
            rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, 40, 50))
        elif number % 3 == 1:
            segmentation = {"size": [40, 50], "counts": rle["counts"].decode()}
        else:
            runs = np.flatnonzero(np.diff(mask.flatten(order="F"), prepend=0, append=2))
            segmentation = {"size": [40, 50], "counts": np.diff([0, *runs]).tolist()}
        annotations.append(
            {
                "id": 50 - number,
                "image_id": (9, 2)[number % 2],
                "category_id": 1 + number % 2,
                "bbox": coco_mask.toBbox(rle).tolist(),
                "area": float(coco_mask.area(rle)),
                "iscrowd": int(number in (1, 2, 7)),
                "segmentation": segmentation,
            }
        )
    categories = [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def both_readers(write_coco) -> tuple[COCODataset, COCO]:
    files = write_coco(all_kinds())
    return (
        COCODataset(str(files.annotation_file), str(files.image_folder), False),
        COCO(str(files.annotation_file)),
    )


def test_objects_are_those_pycocotools_reads(both_readers: tuple[COCODataset, COCO]) -> None:
    dataset, coco = both_readers
    assert dataset.ids == sorted(coco.getImgIds())
    for index, image_id in enumerate(dataset.ids):
        annotations = coco.loadAnns(coco.getAnnIds(image_id, iscrowd=False))
        target = dataset.get_ground_truth(index)
        assert len(target) == len(annotations)
        for box, label, mask, annotation in zip(
            target.convert("xywh").bbox,
            target.get_field("labels").tolist(),
            target.get_field("masks").get_mask_tensor(),
            annotations,
            strict=True,
        ):
            np.testing.assert_allclose(box, annotation["bbox"], rtol=1e-5)
            assert dataset.contiguous_category_id_to_json_id[label] == annotation["category_id"]
            assert np.array_equal(mask, coco.annToMask(annotation))


def test_run_length_totals_are_pycocotools() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        height, width = rng.integers(1, 900, 2)
        mask = (rng.random((height, width)) < rng.random() ** 4).astype(np.uint8, order="F")
        counts = coco_mask.encode(mask)["counts"]
        assert run_length_total(counts) == height * width
        assert run_length_total(counts[:-1]) != height * width
    assert run_length_total(b"") is None
    assert run_length_total(b"oooooooooooo") is None


def test_categories_with_gaps_map_in_ascending_order(write_coco, content) -> None:
    files = write_coco(content)
    dataset = COCODataset(str(files.annotation_file), str(files.image_folder), True)
    assert dataset.class_names == ("__background__", "three", "seven")
    assert dataset.contiguous_category_id_to_json_id == {1: 3, 2: 7}
    assert dataset.get_ground_truth(0).get_field("labels").tolist() == [2, 1]


def test_masks_only_where_asked(write_coco, content) -> None:
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    files = write_coco(content)
    dataset = COCODataset(str(files.annotation_file), str(files.image_folder), True, masks=False)
    assert dataset[0][1].fields() == ["labels"]
    with pytest.raises(DatasetError, match=r"annotation 100: no segmentation \(10 of 10 .*MODEL.MASK_ON"):
        COCODataset(str(files.annotation_file), str(files.image_folder), True)


def test_images_without_objects_are_counted(write_coco, content, caplog) -> None:
    content["annotations"] = content["annotations"][:4]
    files = write_coco(content)
    with caplog.at_level(logging.INFO, logger="maskrcnn_benchmark.data"):
        kept = COCODataset(str(files.annotation_file), str(files.image_folder), False)
        filtered = COCODataset(str(files.annotation_file), str(files.image_folder), True)
    assert (len(kept), len(filtered)) == (5, 2)
    assert "3 images without objects kept" in caplog.text
    assert "3 images without objects left out" in caplog.text
    assert len(kept[4][1]) == 0
    assert len(kept[4][1].get_field("masks")) == 0


def test_boxes_follow_the_rule_and_are_counted(write_coco, content, caplog) -> None:
    boxes = {
        100: [5, 5, 0, 4],
        101: [5, 5, 4, -4],
        102: [100, 5, 10, 10],
        103: [-30, 5, 10, 10],
        104: [5, 5, 1, 10],
        105: [-4, -4, 20, 20],
        106: [30, 20, 100, 100],
    }
    for annotation in content["annotations"]:
        annotation["bbox"] = boxes.get(annotation["id"], annotation["bbox"])
    files = write_coco(content)
    with caplog.at_level(logging.INFO, logger="maskrcnn_benchmark.data"):
        dataset = COCODataset(str(files.annotation_file), str(files.image_folder), False)
    for line in (
        "2 boxes of zero or negative size dropped (annotations 100, 101)",
        "2 boxes outside their image dropped (annotations 102, 103)",
        "1 boxes of at most one pixel in width or height dropped (annotations 104)",
        "2 boxes clipped to their image (annotations 105, 106)",
    ):
        assert line in caplog.text
    assert [len(dataset.get_ground_truth(index)) for index in range(5)] == [0, 0, 1, 2, 2]
    assert dataset.get_ground_truth(2).bbox.tolist() == [[0, 0, 15, 15]]
    assert dataset.get_ground_truth(3).bbox[0].tolist() == [30, 20, 39, 41]
    assert len(dataset.get_ground_truth(3).get_field("masks")) == 2  # masks went with their boxes


def test_polygons_that_enclose_nothing_are_left_out(write_coco, content, caplog) -> None:
    content["annotations"][0]["segmentation"] = [[1, 1, 5, 5]]
    content["annotations"][1]["segmentation"].append([2, 2])
    files = write_coco(content)
    with caplog.at_level(logging.INFO, logger="maskrcnn_benchmark.data"):
        dataset = COCODataset(str(files.annotation_file), str(files.image_folder), False)
    assert "1 objects dropped, whose polygons have fewer than three vertices (annotations 100)" in caplog.text
    assert "2 polygons of fewer than three vertices left out" in caplog.text
    assert dataset.get_ground_truth(0).get_field("labels").tolist() == [1]


def test_nothing_grows_with_the_annotations_but_tensors(write_coco, content) -> None:
    """What a worker would copy page by page are Python objects: as many for 10 objects as for 2000."""
    files = write_coco(content)
    small = COCODataset(str(files.annotation_file), str(files.image_folder), True)
    content["annotations"] = [
        {**annotation, "id": 1000 * copy + annotation["id"]}
        for copy in range(200)
        for annotation in content["annotations"]
    ]
    files.write()
    large = COCODataset(str(files.annotation_file), str(files.image_folder), True)
    assert len(large._annotations.labels) == 2000

    def other_bytes(dataset: COCODataset) -> int:
        annotations = dataset._annotations
        assert annotations.segments is not None
        tensors = [annotations.boxes, annotations.labels, *annotations.segments[:3]]
        tensors += annotations.segments.run_lengths
        return len(pickle.dumps(dataset)) - sum(tensor.nbytes for tensor in tensors)

    assert abs(other_bytes(large) - other_bytes(small)) < 200


def test_joined_datasets(write_coco, content) -> None:
    first = write_coco(content, "first")
    second = write_coco(
        {**content, "images": content["images"][:2], "annotations": content["annotations"][:4]}, "b"
    )
    datasets = [
        COCODataset(str(each.annotation_file), str(each.image_folder), True) for each in (first, second)
    ]
    joined = ConcatDataset(datasets)
    assert len(joined) == 7
    assert joined.get_idxs(4) == (0, 4)
    assert joined.get_idxs(5) == (1, 0)
    image, target, index = joined[6]
    assert index == 6
    assert torch.equal(image, datasets[1][1][0])
    assert torch.equal(target.bbox, datasets[1][1][1].bbox)
    assert joined.get_img_info(6) == datasets[1].get_img_info(1)
    assert torch.equal(joined.aspect_ratios()[5:], datasets[1].aspect_ratios())
    second.content["categories"][0]["name"] = "other"
    second.write()
    other = COCODataset(str(second.annotation_file), str(second.image_folder), True)
    with pytest.raises(DatasetError, match="categories are not those"):
        ConcatDataset([datasets[0], other])
