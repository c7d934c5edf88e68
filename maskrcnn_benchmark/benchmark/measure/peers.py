"""Peers measured in the same run, on the same images, with the same load: torchvision's detectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from maskrcnn_benchmark.benchmark.measure.images import Images, Sample
from maskrcnn_benchmark.benchmark.measure.stages import StageCall, replaced, stage_call
from maskrcnn_benchmark.benchmark.measure.subject import Counts, scale_last_layers
from maskrcnn_benchmark.benchmark.row import FASTER, MASK
from maskrcnn_benchmark.engine.precision import Precision

TORCHVISION = "torchvision"
PEERS = (TORCHVISION,)
# By backbone and detector: torchvision's function of the same model.
TORCHVISION_MODELS = {
    ("R-50-FPN", FASTER): "fasterrcnn_resnet50_fpn",
    ("R-50-FPN", MASK): "maskrcnn_resnet50_fpn",
}
BODY_STAGES = 5  # all of them train, as in the 2x configs


class PeerBatch(NamedTuple):
    """Images [3, H, W] float32, red, green, blue in 0..1, and targets, on the host."""

    images: list[Tensor]
    targets: list[dict[str, Tensor]]


def build_torchvision(detector: str, num_classes: int, short_side: int, long_side: int) -> nn.Module:
    """torchvision's R-50-FPN detector with random weights, frozen batch norms and nothing else frozen."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=BODY_STAGES
    )
    build: Callable[..., nn.Module] = MaskRCNN if detector == MASK else FasterRCNN
    return build(backbone, num_classes=num_classes, min_size=short_side, max_size=long_side)


@contextmanager
def without_pasting(model: nn.Module) -> Iterator[None]:
    """torchvision's detector without its last step, which scales boxes back and pastes masks."""
    with replaced(model.transform, "postprocess", lambda result, *_: result):
        yield


class TorchvisionDetector:
    """A `Subject`: one of torchvision's detectors."""

    def __init__(self, model: nn.Module, device: torch.device, precision: Precision) -> None:
        self.model = model
        self.detector: Any = model
        self.device = device
        self.precision = precision

    def collate(self, samples: Sequence[Sample]) -> PeerBatch:
        """Images as its own loaders make them; masks [G, H, W] uint8 where there are outlines."""
        images = [sample.image.flip(0).float() / 255 for sample in samples]
        if self.device.type == "cuda":
            images = [image.pin_memory() for image in images]
        targets = []
        for sample in samples:
            target = {"boxes": sample.target.bbox, "labels": sample.target.get_field("labels")}
            if sample.target.has_field("masks"):
                target["masks"] = sample.target.get_field("masks").get_mask_tensor()
            targets.append(target)
        return PeerBatch(images, targets)

    def to_device(self, batch: PeerBatch) -> list[Tensor]:
        """Copies the images, without targets."""
        return [image.to(self.device, non_blocking=True) for image in batch.images]

    def detect(self, batch: list[Tensor]) -> list[dict[str, Tensor]]:
        """Final detections, one dictionary per image; masks [D, 1, M, M], not pasted."""
        with self.precision.autocast(self.device), without_pasting(self.model):
            detections: list[dict[str, Tensor]] = self.model(batch)
        return detections

    def paste(self, detections: list[dict[str, Tensor]], samples: Sequence[Sample]) -> None:
        """Pastes masks into full images, as torchvision does."""
        seen = [(sample.image.shape[1], sample.image.shape[2]) for sample in samples]
        original = [(sample.original_wh[1], sample.original_wh[0]) for sample in samples]
        self.detector.transform.eval()
        self.detector.transform.postprocess(detections, seen, original)

    def losses(self, batch: PeerBatch) -> dict[str, Tensor]:
        """Losses by name."""
        targets = [{name: value.to(self.device) for name, value in each.items()} for each in batch.targets]
        with self.precision.autocast(self.device):
            losses: dict[str, Tensor] = self.model(self.to_device(batch), targets)
        return losses

    def stage_calls(self) -> list[StageCall]:
        """The parts that correspond to ours; its resizing and padding count with the body."""
        heads, backbone = self.detector.roi_heads, self.detector.backbone
        parts = [
            (backbone, "body", "backbone"),
            (backbone, "fpn", "fpn"),
            (self.detector, "rpn", "rpn"),
            *((heads, name, "box_head") for name in ("box_roi_pool", "box_head", "box_predictor")),
            (heads, "postprocess_detections", "post_processing"),
            *((heads, name, "mask_head") for name in ("mask_roi_pool", "mask_head", "mask_predictor")),
        ]
        return [call for part in parts for call in stage_call(*part)]

    @contextmanager
    def counting(self, counts: list[Counts]) -> Iterator[None]:
        """Counts proposals and detections at its heads."""

        def count(_module: nn.Module, inputs: Any, output: Any) -> None:
            proposals, found = inputs[1], output[0]
            numbers = sum(map(len, proposals)), sum(len(each["boxes"]) for each in found)
            counts.append(Counts(*map(torch.tensor, numbers)))

        hook = self.detector.roi_heads.register_forward_hook(count)
        try:
            yield
        finally:
            hook.remove()

    def scale_random_weights(self, images: Images) -> str:
        """Scales the last layers on the first images."""
        box_predictor = self.detector.roi_heads.box_predictor
        return scale_last_layers(self, self.detector.rpn.head, box_predictor, images)
