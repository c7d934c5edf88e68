"""Bodies recognised by the names and shapes of weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from weights.converters.proof import PREFIX, build_body

from maskrcnn_benchmark.modeling.backbone import backbone  # noqa: F401  registers the bodies
from maskrcnn_benchmark.modeling.registry import BODIES
from maskrcnn_benchmark.weights.architecture import recognize_body


@pytest.mark.parametrize("name", list(BODIES))
def test_every_body(name: str) -> None:
    """Bare, in a detector, as a parallel job saved it, and sorted by name, as safetensors has it."""
    state = build_body(name).state_dict()
    assert recognize_body(state) == name
    assert recognize_body(dict(sorted(state.items()))) == name
    detector = {PREFIX + key: tensor for key, tensor in state.items()} | {"rpn.head.conv.weight": Tensor()}
    assert recognize_body(detector) == name
    assert recognize_body({f"module.{key}": tensor for key, tensor in detector.items()}) == name


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("MODEL.RESNETS.NUM_GROUPS", 32, "MODEL.RESNETS.WIDTH_PER_GROUP", 8), "X-101-32x8d"),
        (("MODEL.BACKBONE.NORM", "GN"), "R-101"),
        (("MODEL.BACKBONE.NORM", "BN"), "R-101"),
    ],
)
def test_keys_of_the_family(options: tuple[str, ...], name: str) -> None:
    """A ResNeXt spelled as R-101 with groups, and other norms."""
    assert recognize_body(build_body("R-101", options).state_dict()) == name


@pytest.mark.parametrize(("name", "blocks"), [("R-50", "R-50"), ("R-101", "R-101"), ("R-34", "R-34")])
def test_single_map_bodies(name: str, blocks: str) -> None:
    """C4: the fourth stage is the box head's."""
    state = build_body(name).state_dict()
    trunk = {PREFIX + key: tensor for key, tensor in state.items() if not key.startswith("layer4.")}
    head = {f"roi_heads.box.feature_extractor.head.{key}": tensor for key, tensor in state.items()}
    assert (
        recognize_body(trunk | {key: tensor for key, tensor in head.items() if ".layer4." in key}) == blocks
    )


def test_squeeze_in_every_module() -> None:
    every = build_body("V2-99", ("MODEL.VOVNET.SQUEEZE_EVERY_MODULE", True)).state_dict()
    assert recognize_body(every) == "V2-99"


def test_stems_of_another_naming() -> None:
    """The first published V-57 detectors name their stem otherwise; the stages tell the body."""
    state = build_body("V-57").state_dict()
    assert recognize_body({key.replace("stem_", "conv"): tensor for key, tensor in state.items()}) == "V-57"


@pytest.mark.parametrize("name", ["R-50", "V-39", "VGG-16", "MobileNet-V2"])
def test_unknown_depths(name: str) -> None:
    """One block more in a stage, or one convolution: no name, rather than a wrong one."""
    state = dict(build_body(name).state_dict())
    extra = {
        "R-50": ("layer3.5.", "layer3.6."),
        "V-39": ("stage5.OSA5_2.", "stage5.OSA5_3."),
        "VGG-16": ("features.28.", "features.99."),
        "MobileNet-V2": ("features.0.0.weight", "features.0.0.weight"),
    }[name]
    for key, tensor in list(state.items()):
        if key.startswith(extra[0]):
            state[extra[1] + key.removeprefix(extra[0])] = tensor
    if name == "MobileNet-V2":  # half as wide
        state["features.1.conv.0.0.weight"] = torch.empty(16, 1, 3, 3)
    assert recognize_body(state) is None
    assert recognize_body({}) is None
    assert recognize_body({"classifier.weight": torch.empty(1000, 1024)}) is None
