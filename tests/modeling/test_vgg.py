"""VGG bodies against torchvision's layers."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from maskrcnn_benchmark.config import cfg as defaults
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.backbone import Backbone, build_backbone
from maskrcnn_benchmark.modeling.backbone.vgg import VGG
from maskrcnn_benchmark.modeling.registry import BODIES

# name: parameters of torchvision's features, and where its layers conv3, conv4, conv5 and pool5 end
MEMBERS = {
    "VGG-11": (9_220_480, (9, 14, 19, 20)),
    "VGG-13": (9_404_992, (13, 18, 23, 24)),
    "VGG-16": (14_714_688, (15, 22, 29, 30)),
    "VGG-19": (20_024_384, (17, 26, 35, 36)),
    "VGG-11-BN": (9_225_984, (13, 20, 27, 28)),
    "VGG-13-BN": (9_410_880, (19, 26, 33, 34)),
    "VGG-16-BN": (14_723_136, (22, 32, 42, 43)),
    "VGG-19-BN": (20_035_392, (25, 38, 51, 52)),
}


def features_of_torchvision(name: str) -> nn.Sequential:
    """The convolutional part of the classifier, with weights, biases and statistics at random."""
    make = getattr(torchvision.models, name.lower().replace("-bn", "_bn").replace("-", ""))
    with torch.device("meta"):  # the classifier behind it is large
        features: nn.Sequential = make(weights=None).features
    features.to_empty(device="cpu").eval()
    torch.manual_seed(0)
    for key, tensor in features.state_dict().items():
        if tensor.dim() == 4:
            nn.init.kaiming_normal_(tensor)
        elif key.endswith("running_var") or f"{key.split('.')[0]}.running_var" in features.state_dict():
            tensor.copy_(torch.rand(tensor.shape) * 0.6 + 0.7)
        else:
            tensor.normal_(std=0.2)
    return features


def body_of(name: str, norm: str) -> VGG:
    cfg = defaults.clone()
    cfg.MODEL.BACKBONE.NORM = norm
    body = BODIES[name](cfg, name)
    assert isinstance(body, VGG)
    return body


@pytest.mark.parametrize("name", MEMBERS)
def test_names_and_parameter_counts(name: str) -> None:
    with torch.device("meta"):
        body = body_of(name, "BN" if name.endswith("-BN") else "")
        theirs = getattr(torchvision.models, name.lower().replace("-bn", "_bn").replace("-", ""))(
            weights=None
        )
    want = {key: tensor.shape for key, tensor in theirs.state_dict().items() if key.startswith("features.")}
    assert {key: tensor.shape for key, tensor in body.state_dict().items()} == want
    assert sum(parameter.numel() for parameter in body.parameters()) == MEMBERS[name][0]


@pytest.mark.parametrize(
    ("name", "norm"), [("VGG-11", ""), ("VGG-16", ""), ("VGG-13-BN", ""), ("VGG-19-BN", "BN")]
)
def test_maps_are_those_of_torchvisions_layers(name: str, norm: str) -> None:
    theirs, body = features_of_torchvision(name), body_of(name, norm)
    state = {f"features.{key}": tensor for key, tensor in theirs.state_dict().items()}
    if norm == "":
        state = {
            key: tensor + 1e-5 if key.endswith("running_var") else tensor  # a frozen norm has no eps
            for key, tensor in state.items()
            if not key.endswith("num_batches_tracked")
        }
    body.load_state_dict(state)
    images = torch.randn(1, 3, 75, 96)
    with torch.no_grad():
        maps = body.eval()(images)
        want, x = [], images
        for index, layer in enumerate(theirs):
            x = layer(x)
            if index in MEMBERS[name][1]:
                want.append(x.clone())
    for ours, exact, stride in zip(maps, want, body.strides, strict=True):
        torch.testing.assert_close(ours, exact, rtol=0, atol=1e-5 * exact.abs().max().item())
        assert ours.shape[2:] == (75 // stride, 96 // stride)
    assert body.out_channels == (256, 512, 512, 512)


def test_conv5_stands_alone_and_freezing_counts_the_stem_first() -> None:
    cfg = defaults.clone()
    cfg.merge_from_list(["MODEL.BACKBONE.CONV_BODY", "VGG-16-C5", "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 1])
    backbone = build_backbone(cfg)
    assert isinstance(backbone, Backbone)
    assert (backbone.strides, backbone.out_channels) == ((16,), 512)
    images = torch.randn(1, 3, 64, 80)
    (single,) = backbone(images)
    with torch.no_grad():
        exact = backbone.body.get_submodule("features")[:30](images)  # type: ignore[index]
    torch.testing.assert_close(single, exact)
    # conv1_1, conv1_2, conv2_1 and conv2_2, as the first Faster R-CNN had it
    frozen = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert {int(name.split(".")[2]) for name in frozen} == {0, 2, 5, 7}


def test_norm_goes_to_the_members_with_norms() -> None:
    with torch.device("meta"):
        frozen, sync = body_of("VGG-16-BN", ""), body_of("VGG-16-BN", "SyncBN")
    counts = [
        sum(isinstance(module, kind) for module in body.modules())
        for body, kind in ((frozen, FrozenBatchNorm2d), (sync, nn.SyncBatchNorm))
    ]
    assert counts == [13, 13]
    with pytest.raises(ValueError, match=r"'GN': VGG-16 has no norms; .* VGG-16-BN"):
        body_of("VGG-16", "GN")


def test_compiles_without_a_graph_break() -> None:
    """The stages are slices of one list of layers."""
    torch.manual_seed(0)
    torch.compiler.reset()
    body, images = body_of("VGG-11", ""), torch.randn(1, 3, 64, 64)
    compiled = torch.compile(body, fullgraph=True, backend="eager")
    for ours, want in zip(compiled(images), body(images), strict=True):
        torch.testing.assert_close(ours, want)
    torch.compiler.reset()
