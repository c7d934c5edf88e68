"""BoxList and its operations against the family's numbers, torchvision and their own inverses."""

import json
import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou as torchvision_iou

from maskrcnn_benchmark.structures.bounding_box import FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM, BoxList
from maskrcnn_benchmark.structures.boxlist_ops import (
    boxlist_iou,
    boxlist_nms,
    cat_boxlist,
    remove_small_boxes,
)

FIXTURES = Path(__file__).parents[1] / "data" / "fixtures"
GOLDEN = json.loads((FIXTURES / "boxlist.json").read_text())


def golden_boxes() -> BoxList:
    boxes = BoxList(GOLDEN["boxes_xyxy"], GOLDEN["size_wh"])
    boxes.add_field("labels", torch.arange(len(boxes)))
    return boxes


OPERATIONS = {
    "to_xywh": lambda b: b.convert("xywh"),
    "xywh_back_to_xyxy": lambda b: b.convert("xywh").convert("xyxy"),
    "resize_200x180": lambda b: b.resize((200, 180)),
    "resize_150x45": lambda b: b.resize((150, 45)),
    "resize_xywh_150x45": lambda b: b.convert("xywh").resize((150, 45)),
    "resize_xywh_200x180": lambda b: b.convert("xywh").resize((200, 180)),
    "transpose_lr": lambda b: b.transpose(FLIP_LEFT_RIGHT),
    "transpose_tb": lambda b: b.transpose(FLIP_TOP_BOTTOM),
    "transpose_lr_xywh": lambda b: b.convert("xywh").transpose(FLIP_LEFT_RIGHT),
    "crop_15_10_70_60": lambda b: b.crop((15, 10, 70, 60)),
    "clip_remove_empty_true": lambda b: b.clip_to_image(remove_empty=True),
    "clip_remove_empty_false": lambda b: b.clip_to_image(remove_empty=False),
    "index_list_3_0": lambda b: b[[3, 0]],
    "index_slice_1_4": lambda b: b[1:4],
    "index_mask_even": lambda b: b[torch.arange(7) % 2 == 0],
}


def assert_same(found: BoxList, expected: dict) -> None:
    np.testing.assert_allclose(found.bbox, np.reshape(expected["boxes"], (-1, 4)), rtol=1e-6)
    assert list(found.size) == expected["size_wh"]
    assert found.mode == expected["mode"]
    assert found.get_field("labels").tolist() == expected["labels"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_golden_operation(name: str) -> None:
    boxes = golden_boxes()
    assert_same(OPERATIONS[name](boxes), GOLDEN[name])
    assert boxes.bbox.tolist() == torch.tensor(GOLDEN["boxes_xyxy"]).tolist()  # unchanged


def test_golden_areas() -> None:
    boxes = golden_boxes()
    np.testing.assert_allclose(boxes.area(), GOLDEN["area_xyxy"], rtol=1e-6)
    np.testing.assert_allclose(boxes.convert("xywh").area(), GOLDEN["area_xywh"], rtol=1e-6)


def test_golden_remove_small_iou_and_cat() -> None:
    boxes = golden_boxes()
    for case in GOLDEN["remove_small"]:
        assert_same(remove_small_boxes(boxes, case["min_size"]), case)
    second = BoxList(GOLDEN["iou"]["boxes2"], GOLDEN["size_wh"])
    second.add_field("labels", torch.arange(100, 105))
    np.testing.assert_allclose(boxlist_iou(boxes, second), GOLDEN["iou"]["iou"], rtol=1e-5)
    np.testing.assert_allclose(
        boxlist_iou(boxes, second.convert("xywh")), GOLDEN["iou_xywh_second"], rtol=1e-5
    )
    assert_same(cat_boxlist([boxes, second]), GOLDEN["cat"])
    with pytest.raises(KeyError, match="scores"):
        boxes.copy_with_fields("scores")
    assert boxes.copy_with_fields(["labels", "scores"], skip_missing=True).fields() == ["labels"]


def random_boxes(count: int, seed: int, size: tuple[int, int] = (70, 50)) -> BoxList:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand((count, 2), generator=generator) * torch.tensor(size)
    side = torch.rand((count, 2), generator=generator) * 30
    return BoxList(torch.cat([corner, corner + side], dim=1), size)


@pytest.mark.parametrize("seed", range(5))
def test_iou_is_torchvisions_with_corners_raised_by_one(seed: int) -> None:
    first, second = random_boxes(13, seed), random_boxes(7, seed + 100)
    raised = torch.tensor([0, 0, 1, 1])
    expected = torchvision_iou(first.bbox + raised, second.bbox + raised)
    torch.testing.assert_close(boxlist_iou(first, second), expected)


@pytest.mark.parametrize("method", [FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM])
@pytest.mark.parametrize("mode", ["xyxy", "xywh"])
def test_flipping_twice_and_resizing_back_change_nothing(method: int, mode: str) -> None:
    boxes = random_boxes(9, seed=3).convert(mode)
    torch.testing.assert_close(boxes.transpose(method).transpose(method).bbox, boxes.bbox, atol=1e-4, rtol=0)
    torch.testing.assert_close(boxes.resize((31, 77)).resize(boxes.size).bbox, boxes.bbox, atol=1e-3, rtol=0)


def test_nms_gives_the_best_first() -> None:
    boxes = BoxList([[0, 0, 10, 10], [50, 50, 60, 60], [1, 1, 11, 11], [100, 0, 120, 20]], (200, 200))
    boxes.add_field("scores", torch.tensor([0.2, 0.3, 0.9, 0.95]))
    torch.testing.assert_close(boxlist_nms(boxes, 0.5).get_field("scores"), torch.tensor([0.95, 0.9, 0.3]))
    assert len(boxlist_nms(boxes, 0.5, max_proposals=2)) == 2
    assert boxlist_nms(boxes, 0.0) is boxes


def test_lists_without_boxes() -> None:
    empty = BoxList([], (30, 20))
    empty.add_field("labels", torch.zeros(0, dtype=torch.int64))
    for operation in OPERATIONS.values():
        if operation not in (OPERATIONS["index_list_3_0"], OPERATIONS["index_mask_even"]):
            assert operation(empty).bbox.shape == (0, 4)
    assert boxlist_iou(empty, random_boxes(3, 0, (30, 20))).shape == (0, 3)
    assert len(cat_boxlist([empty, empty])) == 0


def test_fields_of_plain_lists_follow_the_boxes() -> None:
    boxes = random_boxes(3, seed=1)
    boxes.add_field("names", ["a", "b", "c"])
    assert boxes[[2, 0]].get_field("names") == ["c", "a"]
    assert boxes[torch.tensor([False, True, False])].get_field("names") == ["b"]
    assert boxes[-1].get_field("names") == ["c"]
    assert [box.get_field("names") for box in boxes] == [["a"], ["b"], ["c"]]


def test_pickles_keep_everything_and_need_no_shared_memory() -> None:
    boxes = random_boxes(40, seed=2)
    boxes.add_field("labels", torch.arange(40))
    boxes.add_field("halves", torch.rand(40).bfloat16())
    boxes.add_field("names", [str(k) for k in range(40)])
    boxes.add_field("numbers", np.arange(40))
    again = pickle.loads(pickle.dumps(boxes[3:5].convert("xywh")))
    assert torch.equal(again.convert("xyxy").bbox, boxes.bbox[3:5])
    assert (again.size, again.mode, again.get_field("names")) == (boxes.size, "xywh", ["3", "4"])
    assert torch.equal(again.get_field("labels"), torch.tensor([3, 4]))
    assert torch.equal(again.get_field("halves"), boxes.get_field("halves")[3:5])
    assert isinstance(again.get_field("numbers"), np.ndarray)
    plain = boxes.copy_with_fields("labels")
    assert b"rebuild_tensor" not in bytes(ForkingPickler.dumps(plain))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: BoxList([[1, 2, 3]], (9, 9)), "number of boxes, 4"),
        (lambda: BoxList([[1, 2, 3, 4]], (9, 9), "cxcywh"), "xyxy"),
        (lambda: random_boxes(2, 0).add_field("labels", torch.zeros(3)), "3 entries for 2 boxes"),
        (lambda: random_boxes(2, 0).convert("yx"), "yx"),
        (lambda: random_boxes(2, 0).transpose(7), "FLIP_LEFT_RIGHT"),
        (lambda: boxlist_iou(random_boxes(1, 0), random_boxes(1, 0, (9, 9))), "different size"),
        (lambda: cat_boxlist([random_boxes(1, 0), random_boxes(1, 0).convert("xywh")]), "mode"),
        (lambda: cat_boxlist([]), "at least one"),
    ],
)
def test_misuse_is_named(action, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        action()
