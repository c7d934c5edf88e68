"""Dataset names and weight matching against the reference's."""

import pytest
import torch
from golden.reference import config_of, read_json

from maskrcnn_benchmark.config.paths_catalog import ROOT_VARIABLE, DatasetCatalog, ModelCatalog
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.weights.matching import match_keys, match_state, strip_prefix_if_present

WEIGHTS = read_json("ops/checkpoint_keys.json")
# datasets of the reference that are not catalogued here: keypoints, Pascal VOC and Cityscapes
OTHER_DATASETS = ("keypoints_", "voc_", "cityscapes_")
# weights of the reference whose models are not here
OTHER_MODELS = ("X-152", "keypoint")


def test_data_set_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every catalogued COCO name stands for the same files."""
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    every = read_json("ops/catalog.json")["datasets"]
    expected = {name: entry for name, entry in every.items() if not name.startswith(OTHER_DATASETS)}
    assert len(expected) == 6
    assert {name: DatasetCatalog.get(name) for name in expected} == expected


def test_weights_names() -> None:
    """Every catalogued name stands for the same address."""
    every = read_json("ops/catalog.json")["models"]
    expected = {name: url for name, url in every.items() if not any(part in name for part in OTHER_MODELS)}
    assert len(expected) == len(every) - 2
    assert {name: ModelCatalog.get(name) for name in expected} == expected


# Differs on purpose, by case number: a name is cut at a dot only (there "b.weight" also fits "xb.weight"),
# and only a leading "module." is dropped (there every one in a name, so that "p.module.w" loses its own).
DIFFERENT_MATCHES = {2: {"xb.weight": None}, 4: {"p.module.w": "module.p.module.w"}}


@pytest.mark.parametrize("number", range(len(WEIGHTS["matching"])))
def test_weight_names(number: int) -> None:
    case = WEIGHTS["matching"][number]
    original = strip_prefix_if_present(dict(zip(case["loaded_keys"], case["loaded_keys"], strict=True)))
    matches = match_keys(case["model_keys"], original)
    found = {key: None if name is None else original[name] for key, name in matches.items()}
    assert found == case["result"] | DIFFERENT_MATCHES.get(number, {})


def test_imagenet_body_fits_the_detector() -> None:
    """A body's file as trained in parallel: all of the body is covered, nothing else is touched."""
    case = WEIGHTS["vovnet_imagenet"]
    with torch.device("meta"):
        state = build_detection_model(config_of(case["config"])).state_dict()
    prefix = "backbone.body."
    body = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    counters = [
        key.replace("running_mean", "num_batches_tracked") for key in body if key.endswith("running_mean")
    ]
    batches = dict.fromkeys(counters, torch.tensor(0))
    classifier = {"classifier.weight": torch.zeros(1000, 1024), "classifier.bias": torch.zeros(1000)}
    loaded = {f"module.{key}": tensor for key, tensor in (body | batches | classifier).items()}
    match = match_state(state, strip_prefix_if_present(loaded))
    assert match.is_body
    assert len(match.loaded) == case["n_matched"] == len(body)
    assert case["all_body_matched"]
    assert case["others_matched"] == []
    assert set(match.unexpected) == set(classifier)
