"""Every model of a source against our body of that name: the same entries and shapes. No values anywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from pytorchcv.model_provider import get_model
from torch import nn
from weights.converters.proof import PREFIX, build_body, shapes

from maskrcnn_benchmark.weights.converters import convert

TORCHVISION = {
    "resnet18": "R-18",
    "resnet34": "R-34",
    "resnet50": "R-50",
    "resnet101": "R-101",
    "resnet152": "R-152",
    "resnext50_32x4d": "X-50-32x4d",
    "resnext101_32x8d": "X-101-32x8d",
    "resnext101_64x4d": "X-101-64x4d",
    "wide_resnet50_2": "W-50-2",
    "wide_resnet101_2": "W-101-2",
    "mobilenet_v2": "MobileNet-V2",
    "mobilenet_v3_large": "MobileNet-V3-large",
    "vgg11": "VGG-11",
    "vgg13": "VGG-13",
    "vgg16": "VGG-16",
    "vgg19": "VGG-19",
    "vgg11_bn": "VGG-11-BN",
    "vgg13_bn": "VGG-13-BN",
    "vgg16_bn": "VGG-16-BN",
    "vgg19_bn": "VGG-19-BN",
}
TIMM = {
    "vovnet39a": "V-39",
    "vovnet57a": "V-57",
    "ese_vovnet19b_slim_dw": "V2-19-slim-dw",
    "ese_vovnet19b_slim": "V2-19-slim",
    "ese_vovnet19b_dw": "V2-19-dw",
    "ese_vovnet39b": "V2-39",
    "ese_vovnet57b": "V2-57",
    "ese_vovnet99b": "V2-99",
}
PYTORCHCV = {"vovnet27s": "V-27-slim", "vovnet39": "V-39", "vovnet57": "V-57"}
EVERY = [
    *((torchvision.models.get_model, name, body) for name, body in TORCHVISION.items()),
    *((timm.create_model, name, body) for name, body in TIMM.items()),
    *((get_model, name, body) for name, body in PYTORCHCV.items()),
]


def make_without_values(make: Callable[[str], nn.Module], name: str) -> nn.Module:
    with torch.device("meta"):
        return make(name)


@pytest.mark.parametrize(("make", "name", "body"), EVERY, ids=[name for _, name, _ in EVERY])
def test_names_and_shapes(make: Callable[[str], nn.Module], name: str, body: str) -> None:
    source = make_without_values(make, name).state_dict()
    converted = convert(source)
    assert converted is not None
    assert converted.body == body
    want = {PREFIX + entry: shape for entry, shape in shapes(build_body(body).state_dict()).items()}
    assert shapes(converted.state) == want
    assert len(converted.state) + len(converted.dropped) == len(source)
    classifiers = ("fc.", "classifier.", "head.", "output.")
    assert all(entry.startswith(classifiers) or "num_batches" in entry for entry in converted.dropped)
    is_bottleneck = body.startswith(("R-", "X-", "W-")) and body not in ("R-18", "R-34")
    requires = {"MODEL.RESNETS.STRIDE_IN_1X1": False} if is_bottleneck else {}
    if name in ("vovnet39a", "vovnet57a"):
        requires = {"MODEL.VOVNET.IDENTITY": False}
    assert dict(converted.requires) == requires


def test_names_of_a_parallel_job() -> None:
    """DistributedDataParallel's "module." on every name."""
    source = make_without_values(get_model, "vovnet39").state_dict()
    bare = convert(source)
    wrapped = convert({f"module.{entry}": tensor for entry, tensor in source.items()})
    assert bare is not None and wrapped is not None
    assert list(wrapped.state) == list(bare.state)


@pytest.mark.parametrize("name", TIMM)
def test_timm_pixels(name: str) -> None:
    """The statistics are timm's own for each model; its 57 differs from the others."""
    published = timm.get_pretrained_cfg(name)
    converted = convert(make_without_values(timm.create_model, name).state_dict())
    assert converted is not None and converted.pixels is not None and published is not None
    assert converted.pixels.order == "rgb"
    assert converted.pixels.mean == pytest.approx([255 * value for value in published.mean])
    assert converted.pixels.std == pytest.approx([255 * value for value in published.std])


def test_timm_first_vovnet_requires_what_differs() -> None:
    """timm's V-39 adds no identity, which neither names nor shapes tell the loader."""
    converted = convert(make_without_values(timm.create_model, "vovnet39a").state_dict())
    assert converted is not None
    assert ("MODEL.VOVNET.IDENTITY", False) in converted.requires


@pytest.mark.parametrize("name", ["eca_vovnet39b", "ese_vovnet39b_evos"])
def test_relatives_keep_what_is_unknown(name: str) -> None:
    """Another attention or norm has no place here: its entries stay where a loader finds them unused."""
    converted = convert(make_without_values(timm.create_model, name).state_dict())
    assert converted is not None
    known = {PREFIX + entry for entry in build_body("V2-39").state_dict()}
    assert known - set(converted.state)


@pytest.mark.parametrize("name", ["densenet121", "alexnet", "mobilenet_v3_small", "mnasnet1_0"])
def test_others_are_nobodys(name: str) -> None:
    assert convert(make_without_values(torchvision.models.get_model, name).state_dict()) is None


@pytest.mark.parametrize("body", ["R-50", "V2-39", "VGG-16-BN", "MobileNet-V2", "V-39"])
def test_this_projects_own_names_are_not_converted(body: str) -> None:
    """Nor a bare body's; a bare VoVNet's are the authors' names, and its values stay as they are."""
    state = build_body(body).state_dict()
    assert convert({PREFIX + name: tensor for name, tensor in state.items()}) is None
    if body != "V-39":
        assert convert(state) is None


def test_nothing() -> None:
    assert convert({}) is None


def test_two_entries_for_one_place() -> None:
    """A file that holds a layer twice is refused with both names."""
    state = make_without_values(torchvision.models.get_model, "resnet18").state_dict()
    state["stem.conv1.weight"] = state["conv1.weight"]
    with pytest.raises(ValueError, match=r"'conv1\.weight' and 'stem\.conv1\.weight' both stand for"):
        convert(state)
