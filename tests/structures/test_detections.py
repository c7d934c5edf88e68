"""Padded detections and sampled regions: named fields, and the way to BoxLists and rois."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Detections, SampledRois, boxlists_to_rois, to_rois

BOXES = torch.arange(24.0).view(2, 3, 4)
VALID = torch.tensor([[True, True, False], [True, False, False]])
SIZES = [(50, 60), (70, 80)]


def make_detections() -> Detections:
    labels = torch.tensor([[3, 1, 0], [2, 0, 0]])
    return Detections(BOXES, VALID * 0.5, labels, VALID, {})


def make_sampled() -> SampledRois:
    labels = torch.tensor([[3, 0, -1], [0, 0, 0]])
    return SampledRois(BOXES, labels, torch.tensor([[1, 0, 0], [0, 0, 0]]), 2, {})


@pytest.mark.parametrize("batch", [make_detections(), make_sampled()], ids=["detections", "sampled"])
def test_a_field_has_an_entry_for_every_slot(batch: Detections | SampledRois) -> None:
    values = torch.rand(2, 3, 7)
    added = batch.with_field("points", values)
    assert added.fields["points"] is values
    assert batch.fields == {}, "the batch itself stays as it is"
    assert set(added.with_field("more", values[..., 0]).fields) == {"points", "more"}
    for wrong in (values[:1], values[:, :2], values.transpose(0, 1), values[0, 0]):
        with pytest.raises(ValueError, match=r"field 'points' is .*must begin with \(2, 3\)"):
            batch.with_field("points", wrong)


def test_positives_are_the_leading_slots_of_everything() -> None:
    sampled = make_sampled().with_field("overlap", torch.arange(6).view(2, 3))
    positives = sampled.positives()
    assert positives.labels.tolist() == [[3, 0], [0, 0]]
    assert positives.matched_gt.tolist() == [[1, 0], [0, 0]]
    assert positives.fields["overlap"].tolist() == [[0, 1], [3, 4]]
    assert torch.equal(positives.boxes, BOXES[:, :2])


def test_fields_reach_the_boxlists_of_the_slots_in_use() -> None:
    detections = make_detections().with_field("points", torch.arange(12.0).view(2, 3, 2))

    def doubled(boxlist: BoxList, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert len(boxlist) == len(fields["points"])
        return {"twice": 2 * fields["points"]}

    first, second = detections.to_boxlists(SIZES, doubled)
    assert (first.size, second.size) == ((60, 50), (80, 70))
    assert first.get_field("twice").tolist() == [[0, 2], [4, 6]]
    assert second.get_field("twice").tolist() == [[12, 14]]
    assert second.get_field("labels").tolist() == [2]
    assert detections.to_boxlists(SIZES)[0].fields() == ["scores", "labels"]
    with pytest.raises(ValueError, match="'short' has 0 entries for 2 boxes"):
        detections.to_boxlists(SIZES, lambda boxlist, fields: {"short": []})


def test_boxlists_and_padded_boxes_give_the_same_rois() -> None:
    expected = to_rois(BOXES, VALID)
    boxlists = [
        BoxList(boxes[valid], (60, 50)).convert("xywh") for boxes, valid in zip(BOXES, VALID, strict=True)
    ]
    assert boxlists_to_rois(boxlists).tolist() == expected[expected[:, 0] >= 0].tolist()
    assert boxlists_to_rois([BoxList([], (60, 50))]).shape == (0, 5)
