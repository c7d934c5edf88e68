"""Whole inference with weights and image of the rules: proposals, detections and masks.

Differs on purpose: detections come by descending score here, class by class there. They are the same ones.
"""

from typing import Any, NamedTuple

import pytest
import torch
from golden.matching import assert_descending, assert_same_boxes, assert_same_proposals
from golden.reference import INFERENCES, Build, read_arrays, read_json
from golden.rules import assert_matches_record, network_input
from torch import Tensor

from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN
from maskrcnn_benchmark.structures.detections import Detections, Proposals, to_rois
from maskrcnn_benchmark.structures.image_list import to_image_list


class Run(NamedTuple):
    """A record, its arrays, the model, and everything between image and detections."""

    record: dict[str, Any]
    arrays: dict[str, Tensor]
    model: GeneralizedRCNN
    features: tuple[Tensor, ...]
    proposals: Proposals
    detections: Detections


@pytest.fixture(scope="module", params=INFERENCES)
def run(request: pytest.FixtureRequest, build_filled: Build) -> Run:
    record = read_json(f"model/infer_{request.param}.json")
    model = build_filled(record["config"], tuple(record["opts"]))
    images = to_image_list([network_input(*record["image"], 0)], model.size_divisible)
    with torch.no_grad():
        features = model.backbone(images.tensors)
        proposals, losses = model.rpn(features, images.sizes)
        detections = model.roi_heads.detect(features, proposals, images.sizes)
    assert losses == {}
    arrays = read_arrays(f"model/infer_{request.param}.npz")
    return Run(record, arrays, model, features, proposals, detections)


def match(run: Run) -> Tensor:
    """The index of each detection of the reference among the found ones."""
    record, detections = run.record, run.detections
    boxes, scores, labels = (values[0][detections.valid[0]] for values in detections[:3])
    expected = (torch.tensor(record[key]) for key in ("boxes", "scores", "labels"))
    return assert_same_boxes((boxes, scores, labels), tuple(expected))


def test_proposals(run: Run) -> None:
    record, arrays, proposals = run.record, run.arrays, run.proposals
    boxes, scores = proposals.boxes[0][proposals.valid[0]], proposals.scores[0][proposals.valid[0]]
    assert len(boxes) == record["n_proposals"]
    assert_same_proposals((boxes, scores), (arrays["proposals"], arrays["objectness"]))
    assert_descending(scores)


def test_detections(run: Run) -> None:
    record, detections = run.record, run.detections
    assert len(match(run)) == record["n"] == detections.valid.sum()
    assert_descending(detections.scores[0])


def test_boxlist_at_the_door(run: Run) -> None:
    """From the padded detections to the BoxList a caller gets: size, fields, order."""
    record, detections = run.record, run.detections
    (boxlist,) = run.model.to_boxlists(detections, [tuple(record["image"])])
    assert boxlist.size == tuple(record["image_size_wh"])
    assert sorted(boxlist.fields()) == sorted(record["fields"])
    assert boxlist.mode == "xyxy"
    index = match(run)
    torch.testing.assert_close(boxlist.bbox[index], torch.tensor(record["boxes"]), rtol=0, atol=0.01)
    assert boxlist.get_field("labels")[index].tolist() == record["labels"]


def test_masks(run: Run) -> None:
    """Logits of every class at once, logits and probabilities of each detection's own class."""
    record, arrays, detections = run.record, run.arrays, run.detections
    if "mask" not in record["fields"]:
        assert detections.fields == {}
        return
    index = match(run)
    logits = detections.fields["mask_logits"][0][index]
    scale = record["mask_logits_all"]["absmax"]
    for found, expected in (
        (logits.mean(dim=(1, 2)), torch.tensor(record["mask_logits_selected_mean"])),
        (logits.std(dim=(1, 2), correction=0), torch.tensor(record["mask_logits_selected_std"])),
        (logits[:8], arrays["mask_logits_selected_first8"]),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * scale)
    (boxlist,) = run.model.to_boxlists(detections, [tuple(record["image"])])
    torch.testing.assert_close(
        boxlist.get_field("mask")[index[:8]], arrays["mask_prob_first8"], rtol=0, atol=1e-4
    )

    head = run.model.roi_heads.mask
    rois = to_rois(detections.boxes[:, index], detections.valid[:, index])
    with torch.no_grad():
        every_class = head.predictor(head.feature_extractor(run.features, rois))
    assert_matches_record(every_class, record["mask_logits_all"], "mask logits")
