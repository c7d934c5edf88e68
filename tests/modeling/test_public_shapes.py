"""The pieces that code written against the family calls take and give the family's shapes."""

from __future__ import annotations

import pytest
import torch

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.modeling import registry
from maskrcnn_benchmark.modeling.detector import build_detection_model  # noqa: F401  # registers every part
from maskrcnn_benchmark.modeling.roi_heads.pooler import Pooler
from maskrcnn_benchmark.modeling.rpn.rpn import flatten_levels
from maskrcnn_benchmark.structures.bounding_box import BoxList


@pytest.mark.parametrize("name", registry.RPN_HEADS)
def test_rpn_heads_give_maps(name: str) -> None:
    torch.manual_seed(0)
    head = registry.RPN_HEADS[name](load_config(None), 16, 3).eval()
    torch.nn.init.normal_(head.cls_logits.bias)
    torch.nn.init.normal_(head.bbox_pred.bias)
    features = [torch.randn(2, 16, height, width) for height, width in ((12, 20), (6, 10))]
    with torch.no_grad():
        logits, deltas = head(features)
        hidden = [head.conv(feature).relu() for feature in features]
        for level, x in enumerate(hidden):
            torch.testing.assert_close(logits[level], head.cls_logits(x), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(deltas[level], head.bbox_pred(x), rtol=1e-4, atol=1e-5)
    assert [tuple(level.shape) for level in logits] == [(2, 3, 12, 20), (2, 3, 6, 10)]
    assert [tuple(level.shape) for level in deltas] == [(2, 12, 12, 20), (2, 12, 6, 10)]


def test_maps_become_the_anchors_order() -> None:
    """Position by position, the anchors of a position together, four deltas an anchor."""
    height, width, num_anchors = 2, 3, 2
    logits = torch.arange(height * width * num_anchors).view(1, num_anchors, height, width)
    deltas = torch.arange(height * width * num_anchors * 4).view(1, num_anchors * 4, height, width)
    (flat_logits,), (flat_deltas,) = flatten_levels([logits], [deltas])
    assert flat_deltas.shape == (1, height * width * num_anchors, 4)
    for y in range(height):
        for x in range(width):
            for a in range(num_anchors):
                row = (y * width + x) * num_anchors + a
                assert flat_logits[0, row] == logits[0, a, y, x]
                assert flat_deltas[0, row].tolist() == deltas[0, 4 * a : 4 * a + 4, y, x].tolist()


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("name", registry.ROI_BOX_PREDICTOR)
def test_box_predictors_take_one_by_one_maps(name: str, agnostic: bool) -> None:
    cfg = load_config(
        None, ["MODEL.ROI_BOX_HEAD.NUM_CLASSES", 5, "MODEL.CLS_AGNOSTIC_BBOX_REG", str(agnostic)]
    )
    predictor = registry.ROI_BOX_PREDICTOR[name](cfg, 16)
    x = torch.randn(7, 16)
    logits, deltas = predictor(x.view(7, 16, 1, 1))
    assert logits.shape == (7, 5)
    assert deltas.shape == (7, 8 if agnostic else 20)
    torch.testing.assert_close(logits, predictor.cls_score(x))
    torch.testing.assert_close(deltas, predictor.bbox_pred(x))


def test_vectors_and_one_by_one_maps_are_the_same_to_the_fpn_predictor() -> None:
    predictor = registry.ROI_BOX_PREDICTOR["FPNPredictor"](load_config(None), 16)
    x = torch.randn(3, 16)
    for one, other in zip(predictor(x), predictor(x.view(3, 16, 1, 1)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("mode", ["xyxy", "xywh"])
def test_the_pooler_takes_boxlists(mode: str) -> None:
    pooler = Pooler((3, 3), (0.25, 0.125), 2)
    maps = [torch.randn(2, 4, 16, 16), torch.randn(2, 4, 8, 8)]
    boxes = torch.tensor([[2.0, 3.0, 30.0, 40.0], [0.0, 0.0, 63.0, 63.0], [10.0, 10.0, 20.0, 12.0]])
    boxlists = [BoxList(boxes[:1], (64, 64)).convert(mode), BoxList(boxes[1:], (64, 64)).convert(mode)]
    rois = torch.cat([torch.tensor([[0.0], [1.0], [1.0]]), boxes], dim=1)
    assert torch.equal(pooler(maps, boxlists), pooler(maps, rois))
    assert pooler(maps, [BoxList([], (64, 64)), BoxList([], (64, 64))]).shape == (0, 4, 3, 3)
