"""Names, shapes, kinds and counts of every entry of every model, and the optimizer's groups."""

from collections import Counter
from typing import Any

import pytest
import torch
from golden.reference import MODELS, config_of, read_state_dict
from torch import nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_optimizer

ReferenceAndModel = tuple[dict[str, Any], ConfigNode, nn.Module]


@pytest.fixture(scope="module", params=MODELS)
def reference_and_model(request: pytest.FixtureRequest) -> ReferenceAndModel:
    """The record of a config, its options and its model (on the meta device: shapes without memory)."""
    cfg = config_of(request.param)
    with torch.device("meta"):
        model = build_detection_model(cfg)
    return read_state_dict(request.param), cfg, model


def test_entries(reference_and_model: ReferenceAndModel) -> None:
    """The same names in the same order, with the same shape and type."""
    record, _, model = reference_and_model
    found = [
        [key, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        for key, tensor in model.state_dict().items()
    ]
    assert found == [[key, shape, dtype] for key, shape, dtype, _ in record["state_dict"]]


def test_kinds(reference_and_model: ReferenceAndModel) -> None:
    """Which entries are trained (p), frozen (f) and buffers (b)."""
    record, _, model = reference_and_model
    parameters = dict(model.named_parameters(remove_duplicate=False))
    kinds = {
        key: "b" if key not in parameters else "p" if parameters[key].requires_grad else "f"
        for key in model.state_dict()
    }
    assert kinds == {key: kind for key, _, _, kind in record["state_dict"]}
    assert [key for key, kind in kinds.items() if kind == "f"] == record["frozen_params"]


def test_counts(reference_and_model: ReferenceAndModel) -> None:
    record, _, model = reference_and_model
    parameters = list(model.parameters())
    assert len(model.state_dict()) == record["n_state_dict"]
    assert len(parameters) == record["n_param_tensors"]
    assert sum(p.numel() for p in parameters) == record["params_total"]
    assert sum(p.numel() for p in parameters if p.requires_grad) == record["params_trainable"]
    stored = sum(tensor.numel() for tensor in model.state_dict().values())  # what a checkpoint holds
    assert stored == record["state_dict_elements"]
    unique = {id(tensor): tensor.numel() for tensor in model.state_dict(keep_vars=True).values()}
    assert sum(unique.values()) - record["params_total"] == record["buffer_elements"]
    assert sum(p.numel() for p in model.backbone.parameters()) == record["backbone_params"]
    assert sum(p.numel() for p in model.backbone.body.parameters()) == record["backbone_body_params"]


def test_shared_entries(reference_and_model: ReferenceAndModel) -> None:
    """Which entries are one tensor under two names: those of heads that share a feature extractor."""
    record, _, model = reference_and_model
    first_name: dict[int, str] = {}
    shared = {}
    for key, tensor in model.state_dict(keep_vars=True).items():
        first = first_name.setdefault(id(tensor), key)
        if first != key:
            shared[key] = first
    assert shared == record["shared_keys"]


def test_optimizer_groups(reference_and_model: ReferenceAndModel) -> None:
    """The same learning rate and weight decay for as many tensors.

    Differs on purpose: the reference has one parameter group a tensor; here tensors of equal learning rate
    and weight decay share one.
    """
    record, cfg, model = reference_and_model
    expected = record["optimizer"]
    optimizer = make_optimizer(cfg, model)
    found: Counter[str] = Counter()
    for group in optimizer.param_groups:
        assert group["momentum"] == expected["momentum"]
        found[f"lr={group['lr']:g},weight_decay={group['weight_decay']:g}"] += len(group["params"])
    assert found == expected["groups"]
    assert sum(found.values()) == expected["n_groups"] == record["n_trainable_tensors"]
