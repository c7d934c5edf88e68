"""The word "ImageNet" finds published weights, fits the body to them, and loads them from the cache."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from maskrcnn_benchmark.models import backbones, faster_rcnn
from maskrcnn_benchmark.models.imagenet import imagenet_entry, imagenet_options
from maskrcnn_benchmark.weights.sources import catalogue
from maskrcnn_benchmark.weights.sources.cache_folder import Digest
from maskrcnn_benchmark.weights.sources.catalogue import weights_manifest

SMALL = {"MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM": 32}


@pytest.fixture
def cached_resnet18(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """torchvision's ResNet-18 with random weights, lying in the cache as if it had been downloaded.

    Its checksum, which is not the published one, is not looked at.
    """
    torch.manual_seed(0)
    source = torchvision.models.resnet18()
    for module in source.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    monkeypatch.setenv("MASKRCNN_BENCHMARK_CACHE", str(tmp_path))
    monkeypatch.setattr(Digest, "of", lambda self, path: self.value)
    entry = imagenet_entry("R-18")
    assert entry is not None
    # random weights do not have the hash of the published ones
    entries = weights_manifest() | {entry.name: replace(entry, sha256=None)}
    monkeypatch.setattr(catalogue, "weights_manifest", lambda: entries)
    place = tmp_path / "weights" / entry.place
    place.parent.mkdir(parents=True)
    torch.save(source.state_dict(), place)
    return source


def test_a_body_takes_its_weights(cached_resnet18: nn.Module) -> None:
    """Everything behind the first convolution is torchvision's to the bit."""
    for body in (
        backbones.resnet18(pretrained=True).body,
        faster_rcnn(backbone="R-18-FPN", num_classes=3, weights="ImageNet", options=SMALL).backbone.body,
    ):
        theirs = cached_resnet18.state_dict()
        for name, tensor in body.state_dict().items():
            if name.startswith("layer") and "running_var" not in name:
                assert torch.equal(tensor, theirs[name]), name
        first = cached_resnet18.conv1.weight.flip(1)  # red, green, blue to blue, green, red
        ratio = body.stem.conv1.weight / first
        expected = 1 / (255 * torch.tensor([0.225, 0.224, 0.229]))
        assert torch.allclose(ratio, expected.view(1, 3, 1, 1).expand_as(ratio), rtol=1e-4)


def test_links_that_live_go_before_dead_ones() -> None:
    for body, name in (("V-39", "pytorchcv"), ("V2-39", "timm"), ("R-50", "MSRA"), ("R-152", "torchvision")):
        entry = imagenet_entry(body)
        assert entry is not None
        assert name in entry.name
        assert entry.link != "dead"


def test_the_stride_follows_the_weights() -> None:
    assert imagenet_options("R-50") == {}
    assert imagenet_options("W-50-2") == {"MODEL.RESNETS.STRIDE_IN_1X1": False}


def test_a_body_without_published_weights_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ValueError, match=r"ImageNet weights of the body 'V-69'.*V-57.*benchmark pretrain"):
        faster_rcnn(backbone="V-69-FPN", weights="ImageNet")
    with pytest.raises(ValueError, match="by name"):
        faster_rcnn(backbone=backbones.resnet18(), weights="ImageNet")
