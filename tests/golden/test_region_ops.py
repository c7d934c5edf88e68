"""RoIAlign, the level rule, the pooler and mask pasting against the reference's results."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.reference import read_arrays, read_json
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.layers import ROIAlign, multilevel_roi_align, paste_masks_rle, rasterize_polygons
from maskrcnn_benchmark.modeling.roi_heads.pooler import Pooler
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

Case = dict[str, Any]

ROI_ALIGN = read_json("ops/roi_align.json")
LEVELS = read_json("ops/level_mapper.json")
MASKER = read_json("ops/masker.json")
POLYGONS = Path(__file__).parents[1] / "data" / "fixtures"  # shared with the tests of SegmentationMask


def to_rois(*boxes_per_image: torch.Tensor) -> torch.Tensor:
    """Regions [K, 5] with the image index first."""
    parts = [torch.cat([torch.full((len(b), 1), float(i)), b], dim=1) for i, b in enumerate(boxes_per_image)]
    return torch.cat(parts)


@pytest.mark.parametrize("case", ROI_ALIGN["cases"], ids=lambda case: case.get("key", "empty"))
@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"]
)
def test_roi_align(case: Case, layout: torch.memory_format) -> None:
    arrays = read_arrays("ops/roi_align.npz")
    features = arrays["features"].contiguous(memory_format=layout)
    if "key" not in case:
        pooled = ROIAlign((7, 7), 0.25, 2)(features, torch.zeros(0, 5))
        assert list(pooled.shape) == case["out_shape"]
        return
    pooled = ROIAlign(tuple(case["output_hw"]), case["spatial_scale"], case["sampling_ratio"])(
        features, arrays["rois"]
    )
    torch.testing.assert_close(pooled, arrays[case["key"]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", LEVELS["cases"], ids=lambda case: f"{case['k_min']}-{case['k_max']}")
def test_level_of_a_box(case: Case) -> None:
    """Each pyramid level holds its own number everywhere, so that what is pooled tells where from."""
    strides = [2**k for k in range(case["k_min"], case["k_max"] + 1)]
    maps = [torch.full((1, 1, 1024 // s, 1024 // s), float(i)) for i, s in enumerate(strides)]
    rois = to_rois(torch.tensor(LEVELS["boxes"]))
    pooled = multilevel_roi_align(maps, rois, [1 / s for s in strides], (1, 1), sampling_ratio=1)
    assert pooled.flatten().round(decimals=4).tolist() == case["levels"]


@pytest.mark.parametrize("channels_last", [False, True])
def test_pooler(channels_last: bool) -> None:
    arrays, case = read_arrays("ops/pooler.npz"), ROI_ALIGN["pooler"]
    pooler = Pooler(tuple(case["output_size"]), case["scales"], case["sampling_ratio"], channels_last)
    maps = [arrays[f"feat{i}"] for i in range(4)]
    pooled = pooler(maps, to_rois(arrays["boxes0"], arrays["boxes1"]))
    assert len(arrays["levels"].unique()) > 1
    torch.testing.assert_close(pooled, arrays["out"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [14, 28])
def test_mask_targets(side: int) -> None:
    """Polygons rasterised within boxes, all in one call.

    Two differences are meant: a box that begins outside the image is moved to its border there and taken as
    it is here (so the moved box goes in); a call with a box of no width raises there, and does not here.
    """
    record = json.loads((POLYGONS / "polygon_masks.json").read_text(encoding="utf-8"))
    cases = [(i, case) for i, case in enumerate(record["projections"]) if case["side"] == side]
    masks = SegmentationMask(record["polygons"], tuple(record["image_size_wh"]))
    boxes = torch.tensor([case["box"] for _, case in cases]).clamp(min=0)
    instance = torch.tensor([case["polygon"] for _, case in cases])
    starts = (masks.polygon_starts.int(), masks.instance_starts.int())
    found = rasterize_polygons(masks.coords, *starts, instance, boxes, side)
    with np.load(POLYGONS / "polygon_masks.npz") as arrays:
        expected = np.stack([arrays[f"projection_{i}"] for i, _ in cases])
    assert found.dtype == torch.uint8
    assert found.numpy().tolist() == expected.tolist()
    no_width = torch.tensor([[105.0, 75.0, 105.0, 75.2]])
    one = rasterize_polygons(masks.coords, *starts, torch.tensor([4]), no_width, side)
    assert one.shape == (1, side, side)


@pytest.mark.parametrize(
    "case", [c for c in MASKER["cases"] if c["threshold"] >= 0], ids=lambda case: case["key"]
)
def test_pasted_masks(case: Case) -> None:
    """The same pixels, but for those whose probability is the threshold to within float32."""
    arrays = read_arrays("ops/masker.npz")
    width, height = MASKER["image_size_wh"]
    rles = paste_masks_rle(
        arrays["masks"],
        arrays["boxes"],
        (height, width),
        threshold=case["threshold"],
        padding=case["padding"],
    )
    assert [rle["size"] for rle in rles] == [[height, width]] * len(rles)
    found = np.stack([coco_mask.decode(rle) for rle in rles])
    expected = arrays[case["key"]].squeeze(1).numpy()
    assert [float(mask.sum()) for mask in expected] == case["area"]
    assert (found != expected).sum() <= 2


@pytest.mark.parametrize("level", [1, 64, 128, 200, 254])
def test_pasted_probabilities(level: int) -> None:
    """The reference's soft masks, uint8(255 p): they reach `level` where p reaches level / 255."""
    arrays = read_arrays("ops/masker.npz")
    width, height = MASKER["image_size_wh"]
    rles = paste_masks_rle(arrays["masks"], arrays["boxes"], (height, width), level / 255, padding=1)
    found = np.stack([coco_mask.decode(rle) for rle in rles])
    expected = arrays["out_th-1_pad1"].squeeze(1).numpy() >= level
    assert 0 < expected.sum() < expected.size
    assert (found != expected).sum() <= 2


def test_nothing_to_paste() -> None:
    width, height = MASKER["image_size_wh"]
    assert MASKER["empty_result_shape"][0] == 0
    assert paste_masks_rle(torch.zeros(0, 1, 28, 28), torch.zeros(0, 4), (height, width)) == []
