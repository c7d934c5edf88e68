"""torchvision's detectors under the same measures as ours."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn

from maskrcnn_benchmark.benchmark.measure.images import DrawnImages
from maskrcnn_benchmark.benchmark.measure.inference import measure_split
from maskrcnn_benchmark.benchmark.measure.peers import TorchvisionDetector, build_torchvision
from maskrcnn_benchmark.benchmark.row import MASK
from maskrcnn_benchmark.engine.precision import FLOAT32

NUM_CLASSES = 81
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def peer() -> TorchvisionDetector:
    torch.manual_seed(0)
    return TorchvisionDetector(build_torchvision(MASK, NUM_CLASSES, 128, 200), CPU, FLOAT32)


@pytest.fixture(scope="module")
def images() -> DrawnImages:
    return DrawnImages(128, 200, NUM_CLASSES, True)


def test_it_is_the_published_function(peer: TorchvisionDetector) -> None:
    published = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=NUM_CLASSES)
    expected = {name: value.shape for name, value in published.state_dict().items() if value.ndim}
    assert {name: value.shape for name, value in peer.model.state_dict().items()} == expected


def test_the_same_measures(peer: TorchvisionDetector, images: DrawnImages) -> None:
    with torch.no_grad():
        how = peer.scale_random_weights(images)
    split, load = measure_split(peer, images, 1, True, how)
    assert 300 <= load.proposals <= 1000
    assert 90 <= load.detections <= 100
    assert split.mask_head is not None and split.mask_pasting is not None
    assert min(split.backbone, split.fpn, split.rpn, split.box_head, split.mask_head) > 0
    assert min(split.post_processing, split.mask_pasting) > 0


def test_its_images_and_targets_are_ours_in_its_form(peer: TorchvisionDetector, images: DrawnImages) -> None:
    samples = images.train_batch(0, 2)
    batch = peer.collate(samples)
    blue = samples[0].image[0]
    assert torch.equal((batch.images[0][2] * 255).round().to(torch.uint8), blue)
    masks = batch.targets[0]["masks"]
    assert masks.shape == (len(samples[0].target), *samples[0].image.shape[1:])
    peer.model.train()
    losses = peer.losses(batch)
    assert set(losses) == {
        *("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"),
    }
    assert all(loss.isfinite() for loss in losses.values())
