"""Polygon rasterisation and mask pasting against pycocotools and torch."""

import resource

import numpy as np
import pytest
import torch
from layers.mask_cases import random_boxes, random_instances, smooth_masks
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.layers import paste_mask, paste_masks_rle, rasterize_polygons
from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES
from maskrcnn_benchmark.layers.mask_ops import paste_with_pycocotools, rasterize_with_pycocotools

INF, NAN = float("inf"), float("nan")
needs_library = pytest.mark.skipif("cpu" not in KERNEL_DEVICES, reason="the operators are not built here")


def rasterize_slowly(polygons, box, size):
    """The family's steps on one instance, given as lists of x, y, x, y ...: crop, resize, rasterise."""
    x1, y1, x2, y2 = box.tolist()
    scaled = []
    for polygon in polygons:
        moved = torch.tensor(polygon)
        moved[0::2] = (moved[0::2] - x1) * (size / (x2 - x1))
        moved[1::2] = (moved[1::2] - y1) * (size / (y2 - y1))
        scaled.append(moved.tolist())
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(scaled, size, size)))


@pytest.mark.parametrize("extent", [6, 60, 900, 5000])
@pytest.mark.parametrize("size", [7, 14, 28, 57])
def test_rasterize_equals_pycocotools(extent, size):
    coords, polygon_starts, instance_starts = random_instances(40, extent, seed=size)
    boxes = random_boxes(44, (extent, extent), seed=size)[:40]
    boxes[::3] = boxes[::3].round()
    boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 0.5)
    masks = rasterize_polygons(coords, polygon_starts, instance_starts, torch.arange(40), boxes, size)
    assert masks.dtype == torch.uint8
    for g in range(40):
        polygons = [
            coords[polygon_starts[q] : polygon_starts[q + 1]].flatten().tolist()
            for q in range(instance_starts[g], instance_starts[g + 1])
        ]
        expected = rasterize_slowly(polygons, boxes[g], size)
        assert np.array_equal(masks[g].numpy(), expected), g


@needs_library
def test_rasterize_equals_its_fallback():
    polygons = random_instances(20, 100)
    boxes = random_boxes(60, (90, 110))
    boxes[3] = torch.tensor([50.0, 20.0, 50.0, 60.0])  # no width
    boxes[4] = torch.tensor([50.0, 60.0, 20.0, 20.0])  # corners exchanged
    instance = torch.arange(60) % 23 - 1  # also -1, 20 and 21, which are no instances
    masks = rasterize_polygons(*polygons, instance, boxes, 28)
    expected = rasterize_with_pycocotools(*polygons, instance, boxes, 28)
    assert torch.equal(masks, expected)
    assert masks[(instance < 0) | (instance >= 20)].eq(0).all()
    assert masks[3].any() or masks[4].any()


def test_a_box_without_width_counts_as_one_pixel():
    """Where the family divides by zero."""
    square = torch.tensor([[10.0, 10], [20, 10], [20, 20], [10, 20]])
    starts = torch.tensor([0, 4]), torch.tensor([0, 1]), torch.tensor([0])
    without = rasterize_polygons(square, *starts, torch.tensor([[12.0, 12, 12, 18]]), 14)
    one_wide = rasterize_polygons(square, *starts, torch.tensor([[12.0, 12, 13, 18]]), 14)
    assert torch.equal(without, one_wide)
    assert without.all()


def test_rasterize_without_regions_or_polygons():
    no_polygons = torch.zeros(0, 2), torch.tensor([0]), torch.tensor([0, 0])
    assert rasterize_polygons(*no_polygons, torch.zeros(0).long(), torch.zeros(0, 4), 28).shape == (0, 28, 28)
    assert rasterize_polygons(*no_polygons, torch.tensor([0, -1]), torch.ones(2, 4), 14).eq(0).all()


@needs_library
def test_rasterize_survives_what_is_not_finite():
    coords, polygon_starts, instance_starts = random_instances(4, 50)
    coords[::5] = torch.tensor([NAN, INF])
    coords[1::7] = 3e38
    boxes = torch.tensor([[NAN, 0, 10, 10], [0, 0, INF, 10], [-INF, 0, 10, 10], [0, 0, 1e-30, 1e30]])
    masks = rasterize_polygons(coords, polygon_starts, instance_starts, torch.arange(4), boxes, 28)
    assert masks.max() <= 1


@needs_library
@pytest.mark.parametrize(
    "polygon_starts, instance_starts, message",
    [
        ([0, 9], [0, 1], "polygon_starts must ascend from 0 to 4"),
        ([0, 4], [0, 2], "instance_starts must ascend"),
    ],
)
def test_rasterize_checks_offsets(polygon_starts, instance_starts, message):
    starts = torch.tensor(polygon_starts), torch.tensor(instance_starts)
    with pytest.raises(RuntimeError, match=message):
        rasterize_polygons(torch.zeros(4, 2), *starts, torch.tensor([0]), torch.ones(1, 4), 14)


def paste_slowly(mask, box, image_hw, threshold, padding):
    """The family's rule in float64: the values of the resized mask, 0 outside, over the whole image."""
    size, (height, width) = mask.shape[0], image_hw
    padded = torch.nn.functional.pad(mask.double(), (padding,) * 4)
    half = (box[2:] - box[:2]) * 0.5 * ((size + 2 * padding) / size)
    middle = (box[2:] + box[:2]) * 0.5
    x1, y1, x2, y2 = torch.cat([middle - half, middle + half]).int().tolist()
    resized_hw = (max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1))
    resized = torch.nn.functional.interpolate(padded[None, None], resized_hw, mode="bilinear")[0, 0]
    image = torch.full((height, width), -1.0, dtype=torch.float64)
    top, bottom, left, right = max(y1, 0), min(y2 + 1, height), max(x1, 0), min(x2 + 1, width)
    if top < bottom and left < right:
        image[top:bottom, left:right] = resized[top - y1 : bottom - y1, left - x1 : right - x1]
    return image


@pytest.mark.parametrize("image_hw", [(60, 80), (97, 131), (300, 200)])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("kind", ["smooth", "noise", "binary"])
def test_paste_equals_resizing_and_encoding(image_hw, padding, kind):
    """Every pixel, but where the value is the threshold to within rounding; strings as pycocotools writes."""
    masks = (
        smooth_masks(30, 28) if kind == "smooth" else torch.rand(30, 28, 28, generator=torch.manual_seed(0))
    )
    masks = masks.round() if kind == "binary" else masks
    boxes = random_boxes(30, image_hw)
    threshold = 0.3 if kind == "noise" else 0.5
    rles = paste_masks_rle(masks, boxes, image_hw, threshold, padding)
    for mask, box, rle in zip(masks, boxes, rles, strict=True):
        assert rle["size"] == list(image_hw)
        decoded = coco_mask.decode(rle)
        assert coco_mask.encode(np.asfortranarray(decoded))["counts"] == rle["counts"]
        values = paste_slowly(mask, box, image_hw, threshold, padding)
        expected = (values > threshold).numpy()
        differs = torch.from_numpy(decoded.astype(bool) != expected)
        assert (values[differs] - threshold).abs().le(1e-5).all()


@needs_library
def test_paste_equals_its_fallback():
    masks, boxes = smooth_masks(30, 28), random_boxes(30, (120, 90))
    expected = paste_with_pycocotools(masks, boxes, (120, 90), 0.5, 1)
    assert paste_masks_rle(masks.unsqueeze(1), boxes, (120, 90)) == expected


@pytest.mark.parametrize("box", [[NAN, 0, 5, 5], [0, 0, INF, 5], [-INF, 0, 5, 5], [900.0, 900, 950, 950]])
def test_a_box_that_is_nowhere_pastes_nothing(box):
    (rle,) = paste_masks_rle(torch.ones(1, 28, 28), torch.tensor([box]), (40, 50))
    assert coco_mask.area(rle) == 0
    assert rle == coco_mask.encode(np.zeros((40, 50), dtype=np.uint8, order="F"))


def test_paste_of_nothing_and_into_nothing():
    assert paste_masks_rle(torch.zeros(0, 1, 28, 28), torch.zeros(0, 4), (40, 50)) == []
    (rle,) = paste_masks_rle(torch.ones(1, 28, 28), torch.ones(1, 4), (0, 50))
    assert rle["size"] == [0, 50]


def test_paste_mask_is_the_decoded_rle():
    mask, box = smooth_masks(1, 28)[0], torch.tensor([3.0, 4, 40, 30])
    (rle,) = paste_masks_rle(mask[None], box[None], (60, 50))
    assert np.array_equal(paste_mask(mask[None], box, (60, 50)).numpy(), coco_mask.decode(rle))


def test_paste_refuses_a_negative_threshold():
    with pytest.raises(RuntimeError, match="threshold"):
        paste_masks_rle(torch.ones(1, 28, 28), torch.ones(1, 4), (40, 50), threshold=-1)


@needs_library
def test_pasting_into_a_huge_image_needs_little_memory():
    """A hundred masks of 8000 x 4000 pixels would fill 3.2 GB."""
    masks, boxes = smooth_masks(100, 28), torch.tensor([[0.0, 0, 7999, 3999]]).repeat(100, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rles = paste_masks_rle(masks, boxes, (4000, 8000))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert sum(len(rle["counts"]) for rle in rles) > 1e5
    assert grown_kib < 100 * 1024


@needs_library
def test_opcheck():
    polygons = [t.int() if i else t for i, t in enumerate(random_instances(5, 60))]
    rasterize = torch.ops.maskrcnn_benchmark.rasterize_polygons
    torch.library.opcheck(rasterize, (*polygons, torch.arange(5), random_boxes(5, (60, 60)), 14))
    paste = torch.ops.maskrcnn_benchmark.paste_masks_rle
    torch.library.opcheck(paste, (smooth_masks(6, 28), random_boxes(6, (60, 60)), 60, 60, 0.5, 1))


@needs_library
def test_rasterize_compiles_whole():
    polygons, boxes = random_instances(6, 60), random_boxes(6, (60, 60))
    compiled = torch.compile(rasterize_polygons, fullgraph=True, backend="aot_eager")
    expected = rasterize_polygons(*polygons, torch.arange(6), boxes, 14)
    assert torch.equal(compiled(*polygons, torch.arange(6), boxes, 14), expected)
