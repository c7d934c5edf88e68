"""Proposal selection and box post-processing on stored network outputs, against the reference's results.

Differs on purpose: proposals and detections come by descending score here; there a training batch keeps the
order of the levels and detections come class by class. Members, boxes and scores are the same.
"""

from typing import Any

import pytest
import torch
from golden.matching import assert_descending, assert_same_boxes, assert_same_proposals
from golden.reference import config_of, read_arrays, read_json
from golden.rules import uniform
from torch import Tensor

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.roi_heads.box_head.box_head import build_roi_box_head
from maskrcnn_benchmark.modeling.roi_heads.box_head.post_processing import BoxPostProcessor
from maskrcnn_benchmark.modeling.rpn.anchor_generator import AnchorGenerator
from maskrcnn_benchmark.modeling.rpn.proposals import ProposalSelector, add_ground_truth
from maskrcnn_benchmark.modeling.rpn.rpn import build_rpn, flatten_levels
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Proposals
from maskrcnn_benchmark.structures.targets import pad_targets

Case = dict[str, Any]

RPN = read_json("ops/rpn_postprocess.json")
BOX = read_json("ops/box_postprocess.json")
V39 = "vovnet/e2e_mask_rcnn_V_39_FPN_2x"


def head_layout(arrays: dict[str, Tensor], num_levels: int) -> tuple[list[Tensor], list[Tensor]]:
    """Stored maps [N, A, H, W] and [N, 4A, H, W] as the selection takes them: [N, HWA] and [N, HWA, 4]."""
    logits, deltas = ([arrays[f"{kind}_{i}"] for i in range(num_levels)] for kind in ("objectness", "deltas"))
    return flatten_levels(logits, deltas)


def pad(boxes_per_image: list[Tensor]) -> Proposals:
    """Proposals of images with different numbers of boxes, scores 1."""
    boxes = torch.nn.utils.rnn.pad_sequence(boxes_per_image, batch_first=True)
    counts = torch.tensor([len(image_boxes) for image_boxes in boxes_per_image])
    valid = torch.arange(boxes.shape[1]) < counts.unsqueeze(1)
    return Proposals(boxes, valid.float(), valid)


@pytest.mark.parametrize("case", RPN["cases"], ids=lambda case: case["name"])
def test_proposals_of_two_images(case: Case) -> None:
    arrays = read_arrays("ops/rpn_postprocess.npz")
    anchors = AnchorGenerator(RPN["anchor_sizes"], RPN["aspect_ratios"], RPN["strides"])(
        [tuple(hw) for hw in RPN["feature_hw"]]
    )
    select = ProposalSelector(
        pre_nms_top_n=case["pre_nms_top_n"],
        post_nms_top_n=case["post_nms_top_n"],
        fpn_post_nms_top_n=case["fpn_post_nms_top_n"],
        nms_thresh=case["nms_thresh"],
        min_size=case["min_size"],
        box_coder=BoxCoder((1.0, 1.0, 1.0, 1.0)),
        per_batch=case["training"] and case["fpn_post_nms_per_batch"],
    )
    proposals = select(anchors, *head_layout(arrays, 3), torch.tensor(RPN["image_sizes_hw"]))
    for scores, valid in zip(proposals.scores, proposals.valid, strict=True):
        assert_descending(scores[valid])
    if case["training"]:
        targets = [BoxList(boxes, (80, 64)) for boxes in RPN["gt_boxes_added_in_training"]]
        for target in targets:
            target.add_field("labels", torch.ones(len(target), dtype=torch.int64))
        proposals = add_ground_truth(proposals, pad_targets(targets))
    for i, (boxes, scores, valid) in enumerate(zip(*proposals, strict=True)):
        assert valid.sum() == case["counts"][i]
        expected = arrays[f"{case['name']}_boxes_{i}"], arrays[f"{case['name']}_objectness_{i}"]
        assert_same_proposals((boxes[valid], scores[valid]), expected)


def test_proposals_of_v39() -> None:
    """A thousand proposals from the complete outputs of an RPN head, in the same order."""
    arrays = read_arrays("model/stage_rpn_V39.npz")
    rpn = build_rpn(config_of(V39), in_channels=256)
    logits, deltas = head_layout(arrays, 5)
    anchors = rpn.anchor_generator([tuple(arrays[f"objectness_{i}"].shape[-2:]) for i in range(5)])
    proposals = rpn.select_test(anchors, logits, deltas, torch.tensor([[256, 320]]))
    assert proposals.valid.all()
    assert_same_proposals(
        (proposals.boxes[0], proposals.scores[0]), (arrays["proposals"], arrays["proposal_objectness"])
    )
    torch.testing.assert_close(proposals.scores[0], arrays["proposal_objectness"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", BOX["cases"], ids=lambda case: case["name"])
def test_detections_of_two_images(case: Case) -> None:
    arrays = read_arrays("ops/box_postprocess.npz")
    proposals = pad([arrays["proposals_0"], arrays["proposals_1"]])
    counts = proposals.valid.sum(dim=1).tolist()
    agnostic = case.get("cls_agnostic_bbox_reg", False)
    regression = arrays["box_regression"][:, :8] if agnostic else arrays["box_regression"]
    logits, deltas = (
        torch.nn.utils.rnn.pad_sequence(values.split(counts), batch_first=True)
        for values in (arrays["class_logits"], regression)
    )
    processor = BoxPostProcessor(
        case["score_thresh"],
        case["nms"],
        case["detections_per_img"],
        BoxCoder((10.0, 10.0, 5.0, 5.0)),
        agnostic,
    )
    image_hw = torch.tensor([[height, width] for width, height in BOX["sizes_wh"]])
    detections = processor(logits, deltas, proposals, image_hw)
    assert detections.valid.sum(dim=1).tolist() == case["counts"]
    for i, valid in enumerate(detections.valid):
        found = tuple(values[i][valid] for values in (detections.boxes, detections.scores, detections.labels))
        expected = tuple(arrays[f"{case['name']}_{kind}_{i}"] for kind in ("boxes", "scores", "labels"))
        assert_same_boxes(found, expected)
        assert_descending(found[1])


def test_ties_at_the_limit_differ() -> None:
    """Differs on purpose: there everything as good as the last allowed one stays, here the allowed number."""
    assert BOX["ties"]["n_returned"] == 30
    x = 20.0 * torch.arange(30)
    boxes = torch.stack([x, torch.zeros(30), x + 9, torch.full((30,), 9.0)], dim=1)
    logits = torch.tensor([0.0, 1.0, 0.0]).expand(1, 30, 3)
    for limit, returned in ((10, 10), (30, BOX["ties"]["n_returned"]), (100, BOX["ties"]["n_returned"])):
        processor = BoxPostProcessor(0.3, 0.5, limit, BoxCoder((10.0, 10.0, 5.0, 5.0)))
        detections = processor(logits, torch.zeros(1, 30, 12), pad([boxes]), torch.tensor([[100, 1000]]))
        assert detections.valid.sum() == returned
        assert detections.labels[detections.valid].unique().tolist() == BOX["ties"]["labels"]


def test_detections_of_v39() -> None:
    """A hundred detections from the complete outputs of a box head."""
    arrays = read_arrays("model/stage_box_V39.npz")
    logits, deltas = arrays["class_logits"], arrays["box_regression"].unflatten(1, (-1, 4))
    left_out = ~(deltas != 0).any(dim=2)
    assert logits.softmax(dim=1)[:, 1:][left_out[:, 1:]].max() < 0.05
    noise = torch.from_numpy(2 * uniform("box_regression", deltas.numel()) - 1).float().view_as(deltas)
    deltas = torch.where(left_out.unsqueeze(2), noise, deltas).flatten(1)
    width, height = arrays["image_size_wh"].tolist()
    head = build_roi_box_head(config_of(V39), in_channels=256)
    detections = head.post_processor(
        logits.unsqueeze(0), deltas.unsqueeze(0), pad([arrays["proposals"]]), torch.tensor([[height, width]])
    )
    found = tuple(values[0] for values in (detections.boxes, detections.scores, detections.labels))
    assert detections.valid.all()
    assert_same_boxes(found, tuple(arrays[f"out_{kind}"] for kind in ("boxes", "scores", "labels")))
    assert_descending(found[1])
