"""Anchors, box coder, matcher, sampler and losses against the reference's results."""

from typing import Any

import pytest
import torch
from golden.reference import config_of, read_json

from maskrcnn_benchmark.layers import FrozenBatchNorm2d, smooth_l1_loss
from maskrcnn_benchmark.modeling.box_coder import BBOX_XFORM_CLIP, BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.rpn.anchor_generator import AnchorGenerator, build_anchor_generator
from maskrcnn_benchmark.modeling.sampler import BalancedSampler, sample_labels

Case = dict[str, Any]

ANCHORS = read_json("ops/anchors.json")
CODER = read_json("ops/box_coder.json")


def test_anchors_of_the_published_pyramid() -> None:
    expected = ANCHORS["FPN"]
    generator = build_anchor_generator(config_of(expected["config"]))
    assert generator.strides == tuple(expected["strides"])
    assert generator.num_anchors_per_location() == expected["num_anchors_per_location"]
    assert [generator.cell_anchors[i].tolist() for i in range(5)] == expected["cell_anchors"]


@pytest.mark.parametrize("case", [ANCHORS["C4"], *ANCHORS["misc"]], ids=["C4", "misc0", "misc1", "misc2"])
def test_anchors_of_one_map(case: Case) -> None:
    stride = case["strides"][0] if "strides" in case else case["stride"]
    expected = case["cell_anchors"][0] if "cell_anchors" in case else case["anchors"]
    generator = AnchorGenerator(case["sizes"], case["aspect_ratios"], [stride])
    assert generator.cell_anchors[0].tolist() == expected


@pytest.mark.parametrize("threshold", [0, 10, -1])
def test_grid_anchors_and_visibility(threshold: int) -> None:
    case = ANCHORS[f"visibility_straddle_{threshold}"]
    generator = AnchorGenerator(case["sizes"], case["aspect_ratios"], case["strides"], threshold)
    levels = generator([tuple(hw) for hw in case["feature_hw"]])
    assert [len(anchors) for anchors in levels] == case["n"]
    assert [anchors[:12].tolist() for anchors in levels] == case["first12"]
    assert [anchors[-3:].tolist() for anchors in levels] == case["last3"]
    for anchors, *expected in zip(levels, *case["visible_indices"], strict=True) if threshold >= 0 else ():
        visible = generator.visibility(anchors, torch.tensor(case["image_sizes_hw"]))
        assert [row.nonzero().flatten().tolist() for row in visible] == expected
    if threshold < 0:
        assert case["visible_indices"] == ["all", "all"]
        assert generator.visibility(torch.cat(levels), torch.tensor(case["image_sizes_hw"])).all()


@pytest.mark.parametrize("case", CODER["cases"], ids=lambda case: str(case["weights"]))
def test_box_coder(case: Case) -> None:
    reference, proposals = torch.tensor(CODER["reference_boxes"]), torch.tensor(CODER["proposals"])
    coder = BoxCoder(tuple(case["weights"]))
    deltas = coder.encode(reference, proposals)
    torch.testing.assert_close(deltas, torch.tensor(case["encode"]), rtol=1e-5, atol=1e-5)
    decoded = coder.decode(deltas, proposals)
    torch.testing.assert_close(decoded, torch.tensor(case["decode_of_encode"]), rtol=1e-5, atol=1e-3)
    clamped = coder.decode(torch.tensor(case["codes"]), proposals)
    torch.testing.assert_close(clamped, torch.tensor(case["decode"]), rtol=1e-5, atol=1e-3)


def test_box_coder_clip() -> None:
    assert CODER["bbox_xform_clip"] == BBOX_XFORM_CLIP


@pytest.mark.parametrize("case", read_json("ops/matcher.json")["cases"])
def test_matcher(case: Case) -> None:
    below, between = (read_json("ops/matcher.json")[key] for key in ("below", "between"))
    assert below == Matcher.BELOW_LOW_THRESHOLD
    assert between == Matcher.BETWEEN_THRESHOLDS
    matcher = Matcher(case["high"], case["low"], case["allow_low_quality_matches"])
    assert matcher(torch.tensor(case["quality"])).tolist() == case["result"]


def test_matcher_without_boxes_differs() -> None:
    """Differs on purpose: without ground truth the reference raises; here every prediction is background."""
    for (num_gt, num_predictions), error in read_json("ops/matcher.json")["empty_input_raises"]:
        assert error == "ValueError"
        matches = Matcher(0.7, 0.3, allow_low_quality_matches=True)(torch.zeros(num_gt, num_predictions))
        assert matches.tolist() == [Matcher.BELOW_LOW_THRESHOLD] * num_predictions


@pytest.mark.parametrize("case", read_json("ops/balanced_sampler.json"))
def test_balanced_sampler(case: Case) -> None:
    """As many positives and negatives are drawn, each once, and none that is ignored."""
    counts = (case["n_pos"], case["n_neg"], case["n_ignored"])
    labels = torch.repeat_interleave(torch.tensor([1, 0, -1]), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))].unsqueeze(0)
    sampler = BalancedSampler(case["batch_size_per_image"], case["positive_fraction"])
    index, used = sampler(labels)
    drawn = sample_labels(labels, index, used)
    assert (drawn == 1).sum() == case["sampled_pos"]
    assert (drawn == 0).sum() == case["sampled_neg"]
    assert len(set(index[used].tolist())) == used.sum() == case["sampled_pos"] + case["sampled_neg"]


@pytest.mark.parametrize("case", read_json("ops/losses.json")["smooth_l1"])
def test_smooth_l1(case: Case) -> None:
    data = read_json("ops/losses.json")
    loss = smooth_l1_loss(
        torch.tensor(data["input"]), torch.tensor(data["target"]), case["beta"], case["size_average"]
    )
    assert loss.item() == pytest.approx(case["value"], rel=1e-6)


def test_frozen_batch_norm() -> None:
    case = read_json("ops/losses.json")["frozen_bn"]
    norm = FrozenBatchNorm2d(3)
    norm.load_state_dict({key: torch.tensor(case[key]) for key in norm.state_dict()})
    x = torch.tensor(case["x_per_channel"]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    expected = torch.tensor(case["y"]).view(1, 3, 1, 1).expand_as(x)
    torch.testing.assert_close(norm(x), expected, rtol=1e-6, atol=1e-6)
