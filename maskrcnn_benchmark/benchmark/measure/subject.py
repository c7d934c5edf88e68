"""The detector that is measured, ours or a peer's, behind the few methods that every measure calls."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.benchmark.measure.images import Images, Sample
from maskrcnn_benchmark.benchmark.measure.random_weights import HOW, quiet_residuals, spread_outputs
from maskrcnn_benchmark.benchmark.measure.stages import StageCall, replaced, stage_call
from maskrcnn_benchmark.engine.precision import Precision, set_precision
from maskrcnn_benchmark.layers import paste_masks_rle
from maskrcnn_benchmark.modeling.detector import Detector, GeneralizedRCNN
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list

CALIBRATION_IMAGES = 2


class Counts(NamedTuple):
    """Numbers of proposals into the heads and of detections out of them, over all images of one call.

    0-dim tensors on the device.
    """

    proposals: Tensor
    detections: Tensor


class Subject(Protocol):
    """A detector to measure. A batch is what `collate` makes of samples, on the host."""

    model: nn.Module
    device: torch.device
    precision: Precision

    def collate(self, samples: Sequence[Sample]) -> Any:
        """Samples as a loader would hand them over."""

    def to_device(self, batch: Any) -> Any:
        """The batch's images on the device."""

    def detect(self, batch: Any) -> Any:
        """Final detections of a batch on the device, masks not pasted."""

    def paste(self, detections: Any, samples: Sequence[Sample]) -> None:
        """Masks of detections pasted into the images as they were before resizing."""

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Losses by name of a training batch that is still on the host."""

    def stage_calls(self) -> list[StageCall]:
        """The calls that begin and end each stage."""

    def counting(self, counts: list[Counts]) -> AbstractContextManager[None]:
        """While entered, every `detect` adds to `counts`."""

    def scale_random_weights(self, images: Images) -> str:
        """Gives random weights a realistic load; says how."""


def scale_last_layers(subject: Subject, rpn_head: nn.Module, box_predictor: nn.Module, images: Images) -> str:
    """Gives random weights a realistic load, by what the subject computes on the first images; says how."""
    subject.model.eval()
    quiet_residuals(subject.model)
    samples = [images.test_image(index) for index in range(CALIBRATION_IMAGES)]

    def run() -> None:
        for sample in samples:
            subject.detect(subject.to_device(subject.collate([sample])))

    spread_outputs(rpn_head, box_predictor, run)
    return HOW.format(images=CALIBRATION_IMAGES)


class TrainBatch(NamedTuple):
    """Images [N, 3, H, W] uint8 and their targets, on the host."""

    images: ImageList
    targets: list[BoxList]


class OurDetector:
    """A `Subject`: this project's detector, as its config builds it."""

    def __init__(
        self, model: Detector, device: torch.device, precision: Precision, size_divisible: int
    ) -> None:
        if not isinstance(model, GeneralizedRCNN):
            raise ValueError(f"the benchmark takes two-stage detectors apart; {model.kind} is none")
        self.model: nn.Module = model
        self.detector = model
        self.device = device
        self.precision = precision
        set_precision(model, precision)
        self.size_divisible = size_divisible

    def collate(self, samples: Sequence[Sample]) -> TrainBatch:
        """Images padded as the data loader pads them, with their targets; in pinned memory for a GPU."""
        images = to_image_list([sample.image for sample in samples], self.size_divisible)
        images = images.pin_memory() if self.device.type == "cuda" else images
        return TrainBatch(images, [sample.target for sample in samples])

    def to_device(self, batch: TrainBatch) -> ImageList:
        """Copies the images, without targets."""
        return batch.images.to(self.device, non_blocking=True)

    def detect(self, batch: ImageList) -> list[BoxList]:
        """Final detections, one BoxList per image."""
        with self.precision.autocast(self.device):
            detections = self.model(batch)
        return list(detections)

    def paste(self, detections: list[BoxList], samples: Sequence[Sample]) -> None:
        """Pastes masks as the evaluator does, straight into RLE."""
        for per_image, sample in zip(detections, samples, strict=True):
            found = per_image.to("cpu").resize(sample.original_wh)
            width, height = sample.original_wh
            paste_masks_rle(found.get_field("mask"), found.bbox, (height, width))

    def losses(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Losses by name; the copy of the images to the device belongs to the step."""
        images = batch.images.to(self.device, non_blocking=True)
        with self.precision.autocast(self.device):
            losses: dict[str, Tensor] = self.model(images, batch.targets)
        return losses

    def stage_calls(self) -> list[StageCall]:
        """Body, pyramid, RPN and heads. A backbone compiled as one, or of another make, counts as a body."""
        backbone, heads = self.detector.backbone, self.detector.roi_heads
        if compiled := stage_call(backbone, "_compiled_call_impl", "backbone"):
            parts = compiled
        else:
            body = stage_call(backbone, "body", "backbone") or stage_call(backbone, "forward", "backbone")
            parts = [*body, *stage_call(backbone, "fpn", "fpn")]
        return [
            *parts,
            *stage_call(self.detector, "rpn", "rpn"),
            *stage_call(heads.box, "refine", "box_head"),
            *stage_call(heads.box, "post_processor", "post_processing"),
            *(stage_call(heads.mask, "refine", "mask_head") if "mask" in heads else []),
        ]

    def counting(self, counts: list[Counts]) -> AbstractContextManager[None]:
        """Counts the slots in use before and after the heads."""
        heads = self.detector.roi_heads
        original = heads.detect

        def detect(features: Any, proposals: Any, image_hw: Tensor) -> Any:
            found = original(features, proposals, image_hw)
            counts.append(Counts(proposals.valid.sum(), found.valid.sum()))
            return found

        return replaced(heads, "detect", detect)

    def scale_random_weights(self, images: Images) -> str:
        """Scales the last layers on the first images."""
        box_predictor = self.detector.roi_heads.box.predictor
        return scale_last_layers(self, self.detector.rpn.head, box_predictor, images)
