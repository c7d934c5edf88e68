"""Targets and detections as dictionaries say what their BoxLists say."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.plain_dicts import boxlist_from_dict, boxlist_to_dict

BOXES = torch.tensor([[2.0, 3.0, 9.0, 8.0], [0.0, 0.0, 4.0, 5.0]])


def test_target_keeps_boxes_and_labels() -> None:
    boxlist = boxlist_from_dict({"boxes": BOXES, "labels": [1, 2], "image_id": 7}, (20, 30))
    assert boxlist.size == (30, 20)  # width, height
    assert torch.equal(boxlist.bbox, BOXES)
    assert boxlist.get_field("labels").tolist() == [1, 2]
    assert not boxlist.has_field("masks")


def test_binary_masks_survive_to_the_pixel() -> None:
    masks = torch.zeros(2, 20, 30, dtype=torch.uint8)
    masks[0, 3:9, 2:10] = 1
    masks[1, 0:6, 0:5] = 1
    masks[1, 2, 2] = 0  # a hole
    boxlist = boxlist_from_dict({"boxes": BOXES, "labels": [1, 2], "masks": masks}, (20, 30))
    back = boxlist.get_field("masks").to_rle()
    assert np.array_equal(np.stack([coco_mask.decode(rle) for rle in back]), masks.numpy())


def test_polygons_are_taken() -> None:
    masks = [[[2, 3, 9, 3, 9, 8]], [[0, 0, 4, 0, 4, 5], [1, 1, 2, 1, 2, 2]]]
    boxlist = boxlist_from_dict({"boxes": BOXES, "labels": [1, 2], "masks": masks}, (20, 30))
    assert boxlist.get_field("masks").instance_starts.tolist() == [0, 1, 3]


@pytest.mark.parametrize("missing", ["boxes", "labels"])
def test_a_missing_key_is_named(missing: str) -> None:
    target = {"boxes": BOXES, "labels": [1, 2]}
    del target[missing]
    with pytest.raises(ValueError, match=f"'{missing}' missing"):
        boxlist_from_dict(target, (20, 30))


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="labels"):
        boxlist_from_dict({"boxes": BOXES, "labels": [1]}, (20, 30))


def test_detections_paste_their_masks() -> None:
    """A mask of ones fills its box and, since pasting interpolates, at most one pixel around it."""
    boxlist = BoxList(BOXES, (30, 20))
    boxlist.add_field("labels", torch.tensor([1, 2]))
    boxlist.add_field("scores", torch.tensor([0.9, 0.8]))
    boxlist.add_field("mask", torch.ones(2, 1, 28, 28))
    plain = boxlist_to_dict(boxlist)
    assert torch.equal(plain["boxes"], BOXES)
    assert plain["scores"].tolist() == pytest.approx([0.9, 0.8])
    inside, outside = torch.zeros(2, 20, 30, dtype=torch.bool), torch.ones(2, 20, 30, dtype=torch.bool)
    for index, (x1, y1, x2, y2) in enumerate(BOXES.int().tolist()):
        inside[index, y1 : y2 + 1, x1 : x2 + 1] = True
        outside[index, max(y1 - 1, 0) : y2 + 2, max(x1 - 1, 0) : x2 + 2] = False
    assert plain["masks"].dtype == torch.bool
    assert plain["masks"][inside].all()
    assert not plain["masks"][outside].any()


def test_without_detections_the_shapes_stay() -> None:
    boxlist = BoxList(torch.zeros(0, 4), (30, 20))
    boxlist.add_field("labels", torch.zeros(0, dtype=torch.int64))
    boxlist.add_field("scores", torch.zeros(0))
    boxlist.add_field("mask", torch.zeros(0, 1, 28, 28))
    assert boxlist_to_dict(boxlist)["masks"].shape == (0, 20, 30)
