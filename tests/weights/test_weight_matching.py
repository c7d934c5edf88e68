"""Names of files matched to names of models: the family's cases, and where we differ on purpose."""

from __future__ import annotations

import pytest
import torch

from maskrcnn_benchmark.weights.matching import match_keys, match_state, strip_prefix_if_present

# model keys, file keys, which goes where: what the family's loader gives
FAMILY = [
    (
        ["backbone.body.stem.conv1.weight", "backbone.body.layer1.0.conv1.weight"],
        ["conv1.weight", "layer1.0.conv1.weight"],
        ["conv1.weight", "layer1.0.conv1.weight"],
    ),
    (["a.b.weight", "b.weight"], ["module.b.weight", "module.a.b.weight"], ["a.b.weight", "b.weight"]),
    (["module.net.w", "net.w"], ["module.net.w"], ["net.w", "net.w"]),
    (
        ["block1.layer1.weight", "layer2.weight", "res.layer2.weight"],
        ["layer1.weight", "layer2.weight", "res.layer2.weight"],
        ["layer1.weight", "layer2.weight", "res.layer2.weight"],
    ),
    (["x.weight"], ["y.bias"], [None]),
]


@pytest.mark.parametrize(("model", "file", "expected"), FAMILY)
def test_the_longest_suffix_wins(model: list[str], file: list[str], expected: list[str | None]) -> None:
    stripped = strip_prefix_if_present({key: torch.zeros(1) for key in file})
    assert list(match_keys(model, stripped).values()) == expected


def test_a_name_is_cut_at_its_dots_only() -> None:
    """The family also takes `b.weight` for `xb.weight`."""
    assert match_keys(["a.b.weight", "xb.weight"], ["b.weight"]) == {
        "a.b.weight": "b.weight",
        "xb.weight": None,
    }


def test_a_prefix_is_stripped_once() -> None:
    """The family removes `module.` wherever it stands in a name."""
    stripped = strip_prefix_if_present({"module.p.module.w": torch.zeros(1), "module.q.w": torch.ones(1)})
    assert list(stripped) == ["p.module.w", "q.w"]
    mixed = {"module.b": torch.zeros(1), "b": torch.zeros(1)}
    assert strip_prefix_if_present(mixed) == mixed


def test_a_bare_body_does_not_reach_the_heads() -> None:
    model = {
        "backbone.body.conv1.weight": torch.zeros(2),
        "roi_heads.conv1.weight": torch.zeros(2),
    }
    match = match_state(model, {"conv1.weight": torch.ones(2), "bn.num_batches_tracked": torch.ones(())})
    assert match.loaded == {"backbone.body.conv1.weight": "conv1.weight"}
    assert match.missing == ["roi_heads.conv1.weight"]
    assert match.unexpected == []
    assert match.is_body
    assert not match.is_complete


def test_batch_norm_weights_do_not_pass_for_group_norm() -> None:
    model = {"backbone.body.norm.weight": torch.zeros(2), "backbone.body.norm.bias": torch.zeros(2)}
    bare = {"norm.weight": torch.ones(2), "norm.bias": torch.ones(2), "norm.running_mean": torch.ones(2)}
    match = match_state(model, bare)
    assert match.unexpected == ["norm.running_mean"]
    assert not match.is_body


def test_long_lists_are_cut() -> None:
    model = {f"rpn.{i}": torch.zeros(1) for i in range(20)}
    text = str(match_state(model, {"rpn.0": torch.zeros(1)}))
    assert "1 entries match; 19 missing in the file: rpn.1, rpn.2" in text
    assert "and 11 more" in text
