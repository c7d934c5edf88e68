"""Masks as flat polygons: the family's geometry, and exactness against pycocotools."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.structures.bounding_box import FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM, BoxList
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

FIXTURES = Path(__file__).parents[1] / "data" / "fixtures"
GOLDEN = json.loads((FIXTURES / "polygon_masks.json").read_text())
PIXELS = np.load(FIXTURES / "polygon_masks.npz")


def golden_masks() -> SegmentationMask:
    return SegmentationMask(GOLDEN["polygons"], GOLDEN["image_size_wh"], mode="poly")


def as_lists(masks: SegmentationMask) -> list[list[list[float]]]:
    return [[polygon.flatten().tolist() for polygon in masks.polygons(g)] for g in range(len(masks))]


GEOMETRY = {
    "transpose_lr": lambda m: m.transpose(FLIP_LEFT_RIGHT),
    "transpose_tb": lambda m: m.transpose(FLIP_TOP_BOTTOM),
    "resize_equal_ratio_240x180": lambda m: m.resize((240, 180)),
    "resize_unequal_60x90": lambda m: m.resize((60, 90)),
    "crop_20_10_80_70": lambda m: m.crop([20, 10, 80, 70]),
    "select_0_2": lambda m: m[[0, 2]],
    "select_slice": lambda m: m[1:3],
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_golden_geometry(name: str) -> None:
    masks = golden_masks()
    assert as_lists(GEOMETRY[name](masks)) == GOLDEN["polygon_geometry"][name]
    assert as_lists(masks) == as_lists(golden_masks())  # unchanged


def test_golden_crop_size() -> None:
    assert list(golden_masks().crop([20, 10, 80, 70]).size) == GOLDEN["polygon_geometry"]["crop_size"]


def test_golden_pixels() -> None:
    assert np.array_equal(golden_masks().get_mask_tensor(), PIXELS["full_image"])


@pytest.mark.parametrize("number", range(len(GOLDEN["projections"])))
def test_golden_projections_onto_boxes(number: int) -> None:
    case = GOLDEN["projections"][number]
    if min(case["box"]) < 0:
        pytest.skip("the family moves such a box into the image; clipped proposals never are outside")
    cropped = golden_masks()[case["polygon"]].crop(case["box"])
    projected = cropped.resize(case["side"]).get_mask_tensor()
    assert np.array_equal(projected[0], PIXELS[f"projection_{number}"])


def random_mask(seed: int) -> np.ndarray:
    """Noise, or blobs with holes, of a random size and density."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2)
    noise = rng.random((height, width))
    if seed % 2:
        for _ in range(3):
            padded = np.pad(noise, 1, mode="edge")
            noise = sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3)) / 9
    return (noise < np.quantile(noise, rng.random())).astype(np.uint8)


@pytest.mark.parametrize("seed", range(40))
def test_pixels_and_run_lengths_become_exact_polygons(seed: int) -> None:
    mask = random_mask(seed)
    size = mask.shape[::-1]
    compressed = coco_mask.encode(np.asfortranarray(mask))
    runs = np.flatnonzero(np.diff(mask.flatten(order="F"), prepend=0, append=2)).tolist()
    plain = {"size": list(mask.shape), "counts": np.diff([0, *runs]).tolist()}
    for masks in (
        SegmentationMask(mask[None], size, mode="mask"),
        SegmentationMask(torch.from_numpy(mask), size, mode="mask"),
        SegmentationMask([compressed], size, mode="mask"),
        SegmentationMask([plain], size),
    ):
        assert np.array_equal(masks.get_mask_tensor()[0], mask)
        # and it stays exact under the operations that keep pixels whole
        assert np.array_equal(
            masks.resize((3 * size[0], 3 * size[1])).get_mask_tensor()[0], np.kron(mask, np.ones((3, 3)))
        )


def test_golden_crop_of_binary_masks() -> None:
    masks = SegmentationMask(PIXELS["full_image"][:4], (120, 90), mode="mask")
    assert np.array_equal(masks.crop([20, 10, 80, 70]).get_mask_tensor(), PIXELS["mask_crop"])


def test_indexing_agrees_with_lists() -> None:
    masks, lists = golden_masks(), as_lists(golden_masks())
    flags = torch.tensor([True, False, True, True, False, False])
    assert as_lists(masks[[4, 1, 1]]) == [lists[4], lists[1], lists[1]]
    assert as_lists(masks[flags]) == [lists[0], lists[2], lists[3]]
    assert as_lists(masks[torch.tensor([5])]) == [lists[5]]
    assert as_lists(masks[-1]) == [lists[-1]]
    assert len(masks[[]]) == 0


def test_an_instance_without_a_polygon_keeps_its_place() -> None:
    masks = SegmentationMask([[[1, 1, 2]], [[0, 0, 4, 0, 4, 4]], []], (8, 8))
    assert len(masks) == 3
    assert masks.get_mask_tensor().flatten(1).any(dim=1).tolist() == [False, True, False]


def test_pickles_hold_only_what_is_chosen() -> None:
    masks = SegmentationMask.cat([golden_masks()] * 50)
    one = masks[7]
    again = pickle.loads(pickle.dumps(one))
    assert as_lists(again) == as_lists(one)
    assert again.size == one.size
    assert len(pickle.dumps(one)) < 1000


def test_masks_follow_their_boxes() -> None:
    masks = golden_masks()
    boxes = BoxList(torch.arange(24.0).reshape(6, 4), (120, 90))
    boxes.add_field("masks", masks)
    changed = boxes.resize((240, 90)).transpose(FLIP_LEFT_RIGHT)[[2, 3]].get_field("masks")
    assert as_lists(changed) == as_lists(masks.resize((240, 90)).transpose(FLIP_LEFT_RIGHT)[[2, 3]])
    assert as_lists(cat_boxlist([boxes, boxes]).get_field("masks")) == as_lists(masks) * 2
    assert len(boxes.to("cpu").get_field("masks")) == 6


@pytest.mark.parametrize(
    ("instances", "mode", "message"),
    [
        ([[[0, 0, 4, 0, 4, 4]]], "box", "'poly' or 'mask'"),
        (np.zeros((1, 4, 9), np.uint8), "mask", "4 x 9 in an image of 8 x 8"),
        ([{"size": [4, 9], "counts": [36]}], "poly", "4 x 9 in an image of 8 x 8"),
    ],
)
def test_misuse_is_named(instances, mode: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmentationMask(instances, (8, 8), mode=mode)
