"""Training losses, labels, targets and gradients with weights and images of the rules.

The samplers are told to take a million anchors and regions: they take every one, and nothing random is left.
"""

import copy
from typing import Any

import pytest
import torch
from golden.reference import TRAININGS, Build, read_arrays, read_json
from golden.rules import network_input
from torch import Tensor

from maskrcnn_benchmark.modeling.losses import mean_losses
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import instance_index, rasterize_masks
from maskrcnn_benchmark.modeling.rpn.loss import assign_anchors
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Proposals
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.structures.targets import pad_targets

RECORD = read_json("model/train_losses.json")
WITH_GRADIENTS = [name for name in TRAININGS if "rpn_loss_grads" in RECORD["cases"][name]]


def boxlist(target: dict[str, Any]) -> BoxList:
    """The ground truth of one image."""
    instances, size = target["instances"], tuple(target["size_wh"])
    result = BoxList([instance["box"] for instance in instances], size)
    result.add_field("labels", torch.tensor([instance["label"] for instance in instances]))
    result.add_field("masks", SegmentationMask([instance["polygons"] for instance in instances], size))
    return result


class Run:
    """One case: its record, the model in training mode, the batch, and its features without gradients."""

    def __init__(self, name: str, build_filled: Build) -> None:
        self.case = RECORD["cases"][name]
        self.arrays = read_arrays(f"model/train_{name}.npz")
        self.model = build_filled(self.case["config"], (*RECORD["sampler_opts"], *self.case["opts"])).train()
        targets = RECORD["targets"][: self.case["n_images"]]
        pixels = [network_input(t["size_wh"][1], t["size_wh"][0], t["which"]) for t in targets]
        self.images = to_image_list(pixels, self.model.size_divisible)
        self.boxlists = [boxlist(target) for target in targets]
        self.targets = pad_targets(self.boxlists)
        with torch.no_grad():
            self.features = self.model.backbone(self.images.tensors)
        boxes = torch.tensor(RECORD["fixed_proposals"][: self.case["n_images"]])
        self.fixed = Proposals(
            boxes, torch.ones(boxes.shape[:2]), torch.ones(boxes.shape[:2], dtype=torch.bool)
        )


@pytest.fixture(scope="module", params=TRAININGS)
def run(request: pytest.FixtureRequest, build_filled: Build) -> Run:
    return Run(request.param, build_filled)


def assert_losses(found: dict[str, Tensor], expected: dict[str, float]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == torch.float32
        assert found[name].shape == ()
        assert found[name].item() == pytest.approx(value, rel=1e-4), name


def test_losses(run: Run) -> None:
    """All losses from the model's front door."""
    assert list(run.images.tensors.shape) == run.case["padded_input_shape"]
    with torch.no_grad():
        losses = run.model(run.images, run.boxlists)
    assert_losses(losses, run.case["losses"])


def test_rpn_labels(run: Run) -> None:
    """Which anchors are positive, negative and ignored."""
    rpn = run.model.rpn
    anchors = torch.cat(rpn.anchor_generator([(f.shape[-2], f.shape[-1]) for f in run.features]))
    visible = rpn.anchor_generator.visibility(anchors, run.images.sizes)
    labels, _ = assign_anchors(anchors, visible, run.targets, rpn.matcher)
    for found, expected in zip(labels, run.case["rpn_labels"], strict=True):
        assert len(found) == expected["n_anchors"]
        assert (found == 1).nonzero().flatten().tolist() == expected["positive_indices"]
        assert (found == 0).sum() == expected["negative"]
        assert (found == -1).sum() == expected["ignored"]


def test_sampled_regions(run: Run) -> None:
    """How many proposals reach the heads, the ground-truth boxes among them, and how many are objects."""
    with torch.no_grad():
        proposals, _ = run.model.rpn(run.features, run.images.sizes, run.targets)
        sampled = run.model.roi_heads.sample(proposals, run.targets)
    assert proposals.valid.sum(dim=1).tolist() == run.case["train_proposals_per_image"]
    for labels, expected in zip(sampled.labels, run.case["roi_labels"], strict=True):
        assert (labels >= 0).sum() == expected["sampled"]
        assert (labels > 0).sum() == expected["positive"]
        assert (labels == 0).sum() == expected["background"]


def test_losses_of_fixed_proposals(run: Run) -> None:
    """The heads alone, on given boxes."""
    with torch.no_grad():
        losses = mean_losses(run.model.roi_heads.losses(run.features, run.fixed, run.targets))
    assert_losses(losses, run.case["fixed_proposals_losses"])


def test_targets_of_fixed_proposals(run: Run) -> None:
    """Label, regression target and mask target of each given box."""
    sampled = run.model.roi_heads.sample(run.fixed, run.targets)
    box_targets = run.model.roi_heads.box.box_targets(sampled, run.targets)
    for i in range(run.case["n_images"]):
        expected = {key.removesuffix(f"_{i}"): a for key, a in run.arrays.items() if key.endswith(f"_{i}")}
        index = index_of(expected["fixed_boxes"], sampled.boxes[i])
        assert sampled.labels[i][index].tolist() == expected["fixed_labels"].tolist()
        objects = expected["fixed_labels"] > 0
        torch.testing.assert_close(
            box_targets[i][index][objects],
            expected["fixed_regression_targets"][objects],
            rtol=1e-5,
            atol=1e-5,
        )
        if "fixed_mask_targets" not in expected:
            continue
        index = index_of(expected["fixed_mask_boxes"], sampled.boxes[i])
        assert sampled.labels[i][index].tolist() == expected["fixed_mask_labels"].tolist()
        num_gt = run.targets.labels.shape[1]
        instance = instance_index(sampled.matched_gt, sampled.labels > 0, num_gt)[i][index]
        size = expected["fixed_mask_targets"].shape[-1]
        masks = rasterize_masks(run.targets.polygons, instance, expected["fixed_mask_boxes"], size)
        assert masks.tolist() == expected["fixed_mask_targets"].tolist()


def index_of(wanted: Tensor, boxes: Tensor) -> Tensor:
    """Where each wanted box stands among `boxes`; both hold each box once."""
    equal = (wanted.unsqueeze(1) == boxes).all(dim=2)
    assert (equal.sum(dim=1) == 1).all()
    return equal.int().argmax(dim=1)


@pytest.mark.parametrize("run", WITH_GRADIENTS, indirect=True)
def test_rpn_gradients(run: Run) -> None:
    """Gradient of the RPN's two losses: norm and first values of every parameter.

    In float64, because a ReLU has no derivative at zero: in float32 a unit that happens to be within rounding
    of zero is on for one order of summation and off for another, which moves the gradients below by 1e-3.
    """
    expected = run.case["rpn_loss_grads"]
    model = copy.deepcopy(run.model).double()
    _, sums = model.rpn(model.backbone(run.images.tensors.double()), run.images.sizes, run.targets)
    losses = mean_losses(sums)
    (losses["loss_objectness"] + losses["loss_rpn_box_reg"]).backward()
    grads = {name: p.grad.contiguous() for name, p in model.named_parameters() if p.grad is not None}
    assert set(grads) == set(expected)
    for name, (norm, first) in expected.items():
        grad = grads[name]
        assert grad.norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-9), name
        limit = 1e-4 * grad.abs().max().item() + 1e-9
        first = torch.tensor(first, dtype=torch.float64)
        torch.testing.assert_close(grad.flatten()[:3], first, rtol=0, atol=limit, msg=name)
