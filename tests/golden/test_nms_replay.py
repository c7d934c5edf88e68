"""NMS against the reference's results.

Two differences are meant, and shown to be the only ones:

1. Equal counts as overlap there on the CPU (>=), not on its GPU and not here (>).
2. Results are in ascending index order there, by descending score here.
"""

from typing import Any

import pytest
import torch
from golden.reference import read_json

from maskrcnn_benchmark.layers import nms
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_nms

Case = dict[str, Any]

CASES = {case["name"]: case for case in read_json("ops/nms.json")["cases"]}
WRAPPER = read_json("ops/nms.json")["boxlist_nms"]
EQUAL_MATTERS = {"equal_to_threshold", "threshold_zero_op"}


def slow_nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float, equal_removes: bool) -> list[int]:
    """NMS one pair at a time in float64; the result by descending score, ties by index."""
    order = sorted(range(len(boxes)), key=lambda i: (-scores[i].item(), i))
    kept: list[int] = []
    for i in order:
        overlaps = [overlap(boxes[i].tolist(), boxes[k].tolist()) for k in kept]
        if not any(o > threshold or (equal_removes and o == threshold) for o in overlaps):
            kept.append(i)
    return kept


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union with pixel-counting widths."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
    area_a, area_b = ((x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (a, b))
    return width * height / (area_a + area_b - width * height)


def tensors(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(case["boxes"]).reshape(-1, 4), torch.tensor(case["scores"])


@pytest.mark.parametrize("name", CASES)
def test_nms(name: str) -> None:
    case = CASES[name]
    boxes, scores = tensors(case)
    assert sorted(slow_nms(boxes, scores, case["threshold"], equal_removes=True)) == case["keep"]
    keep = nms(boxes, scores, case["threshold"])
    assert keep.dtype == torch.int64
    assert keep.tolist() == slow_nms(boxes, scores, case["threshold"], equal_removes=False)
    if name in EQUAL_MATTERS:
        assert len(keep) > len(case["keep"])
    else:
        assert sorted(keep.tolist()) == case["keep"]


def test_equal_overlap_is_what_differs() -> None:
    """With the threshold a hair lower, equal counts as overlap here too, and the results agree."""
    case = CASES["equal_to_threshold"]
    assert sorted(nms(*tensors(case), case["threshold"] - 1e-6).tolist()) == case["keep"]


@pytest.mark.parametrize(
    "case", WRAPPER["cases"], ids=lambda case: f"{case['nms_thresh']}-{case['max_proposals']}"
)
def test_boxlist_nms(case: Case) -> None:
    """The same survivors; a limit keeps the best of them here, the first by index there."""
    boxlist = BoxList(torch.tensor(WRAPPER["boxes"]), tuple(WRAPPER["size_wh"]))
    boxlist.add_field("scores", torch.tensor(WRAPPER["scores"]))
    found = boxlist_nms(boxlist, case["nms_thresh"], case["max_proposals"])
    if case["nms_thresh"] <= 0:  # switched off, the limit too
        assert found.bbox.tolist() == case["boxes"]
        return
    every = next(
        c for c in WRAPPER["cases"] if c["nms_thresh"] == case["nms_thresh"] and c["max_proposals"] == -1
    )
    by_score = sorted(zip(every["scores"], every["boxes"], strict=True), reverse=True)
    limit = len(by_score) if case["max_proposals"] < 0 else case["max_proposals"]
    assert found.bbox.tolist() == [box for _, box in by_score[:limit]]
