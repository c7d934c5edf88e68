"""The VoVNet authors' ImageNet files: this project's names without the prefix, beside a classifier."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from weights.converters.proof import PREFIX, build_body, randomize, shapes

from maskrcnn_benchmark.weights.converters import convert


def published(body: str) -> dict[str, Tensor]:
    """A file as its authors' code saves it: batch norms with their counters, a classifier."""
    model = build_body(body, ("MODEL.BACKBONE.NORM", "BN"))
    randomize(model)
    classifier = {"classifier.weight": torch.zeros(1000, 1024), "classifier.bias": torch.zeros(1000)}
    return model.state_dict() | classifier


@pytest.mark.parametrize("body", ["V-39", "V-57"])
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_the_body_as_it_is(body: str, wrapper: str) -> None:
    """Values are not changed: the published detectors were trained from these."""
    state = published(body)
    converted = convert({wrapper + name: tensor for name, tensor in state.items()})
    assert converted is not None
    assert (converted.body, converted.pixels, converted.batch_norm_eps) == (body, None, 0.0)
    want = {PREFIX + name: shape for name, shape in shapes(build_body(body).state_dict()).items()}
    assert shapes(converted.state) == want
    for name, tensor in converted.state.items():
        assert tensor is state[name.removeprefix(PREFIX)]
    assert all(
        name.startswith("classifier.") or name.endswith("num_batches_tracked") for name in converted.dropped
    )


@pytest.mark.parametrize(("std", "is_small"), [(1.0, True), (58.0, False)])
def test_files_for_normalised_pixels_are_recognised(std: float, is_small: bool) -> None:
    """The authors' torchvision-style files have the same names; the first variances give them away."""
    state = published("V-39")
    generator = torch.Generator().manual_seed(0)
    coarse = std * torch.randn(8, 3, 16, 16, generator=generator)
    images = F.interpolate(coarse, scale_factor=4, mode="bilinear")  # as smooth as photographs
    first = F.conv2d(images, state["stem.stem_1/conv.weight"], stride=2)
    state["stem.stem_1/norm.running_var"] = first.var((0, 2, 3))
    converted = convert(state)
    assert converted is not None
    assert any("red, green, blue" in note for note in converted.notes) == is_small
