"""MobileNet bodies against torchvision's classifiers."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from maskrcnn_benchmark.config import cfg as defaults
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.backbone import Backbone, build_backbone
from maskrcnn_benchmark.modeling.backbone.mobilenet import MobileNet
from maskrcnn_benchmark.modeling.registry import BODIES

# name: torchvision's function, eps of its batch norms, parameters of its features, blocks that give the maps
CLASSIFIERS = {
    "MobileNet-V2": (torchvision.models.mobilenet_v2, 1e-5, 2_223_872, (3, 6, 13, 18)),
    "MobileNet-V3-large": (torchvision.models.mobilenet_v3_large, 1e-3, 2_971_952, (3, 6, 12, 16)),
}


def randomize_norms(module: nn.Module) -> None:
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var") or (tensor.dim() == 1 and name.endswith("weight")):
            tensor.uniform_(0.7, 1.3)
        elif tensor.dim() == 1 and tensor.is_floating_point():
            tensor.normal_(std=0.2)


def backbone_of(name: str, *opts: object) -> Backbone:
    cfg = defaults.clone()
    cfg.merge_from_list(["MODEL.BACKBONE.CONV_BODY", name, "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", 0, *opts])
    backbone = build_backbone(cfg)
    assert isinstance(backbone, Backbone)
    return backbone


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
def test_features_are_those_of_torchvisions_classifier(name: str, norm: str) -> None:
    make, eps, num_parameters, blocks = CLASSIFIERS[name]
    torch.manual_seed(0)
    theirs = make(weights=None).eval()
    randomize_norms(theirs)
    cfg = defaults.clone()
    cfg.MODEL.BACKBONE.NORM = norm
    body = BODIES[name](cfg, name)
    assert isinstance(body, MobileNet)
    # a frozen norm has no eps, and a trainable one 1e-5 whatever the source's
    shift = eps - (1e-5 if norm == "BN" else 0.0)
    state = {
        key: tensor + shift if key.endswith("running_var") else tensor
        for key, tensor in theirs.state_dict().items()
        if key.startswith("features.") and (norm == "BN" or not key.endswith("num_batches_tracked"))
    }
    body.load_state_dict(state)
    images = torch.randn(2, 3, 75, 96)
    with torch.no_grad():
        maps = body.eval()(images)
        want, x = [], images
        for index, block in enumerate(theirs.features):
            x = block(x)
            if index in blocks:
                want.append(x)
    for ours, exact in zip(maps, want, strict=True):
        torch.testing.assert_close(ours, exact, rtol=0, atol=1e-5 * exact.abs().max().item())
    assert body.out_channels == tuple(exact.shape[1] for exact in want)
    if norm == "BN":
        assert sum(parameter.numel() for parameter in body.parameters()) == num_parameters


@pytest.mark.parametrize(
    ("name", "starts"), [("MobileNet-V2", (0, 2, 4, 7, 14, 19)), ("MobileNet-V3-large", (0, 2, 4, 7, 13, 17))]
)
def test_freezing_counts_the_stem_first(name: str, starts: tuple[int, ...]) -> None:
    for freeze_at in (1, 3, 5):
        with torch.device("meta"):
            body = backbone_of(f"{name}-FPN", "MODEL.BACKBONE.FREEZE_CONV_BODY_AT", freeze_at).body
        for key, parameter in body.named_parameters():
            assert parameter.requires_grad == (int(key.split(".")[1]) >= starts[freeze_at]), (freeze_at, key)


def test_norms() -> None:
    """Group norm takes groups of a width that divides every layer's."""
    group_norm = (
        "MODEL.BACKBONE.NORM",
        "GN",
        "MODEL.GROUP_NORM.DIM_PER_GP",
        8,
        "MODEL.GROUP_NORM.NUM_GROUPS",
        -1,
    )
    for opts, kind in (((), FrozenBatchNorm2d), (group_norm, nn.GroupNorm)):
        with torch.device("meta"):
            backbone = backbone_of("MobileNet-V3-large-C5", *opts)
        assert any(isinstance(module, kind) for module in backbone.body.modules())
        assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.body.modules())
    with torch.device("meta"), pytest.raises(ValueError, match=r"16 channels.*NUM_GROUPS"):
        backbone_of("MobileNet-V3-large-C5", "MODEL.BACKBONE.NORM", "GN")
