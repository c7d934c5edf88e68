"""What is measured: this project's detector, under the few names that every measure uses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.benchmark.measure.load import Images, Sample
from maskrcnn_benchmark.benchmark.measure.random_weights import HOW, quiet_residuals, spread_answers
from maskrcnn_benchmark.benchmark.measure.stages import StageCall, replaced, stage_call
from maskrcnn_benchmark.engine.precision import computing_in
from maskrcnn_benchmark.layers import paste_masks_rle
from maskrcnn_benchmark.modeling.detector import Detector, GeneralizedRCNN
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list

CALIBRATION_IMAGES = 2


class Counts(NamedTuple):
    """Proposals into and detections out of the heads, of all images of a call: 0-dim, on the device."""

    proposals: Tensor
    detections: Tensor


class Subject(Protocol):
    """A detector to measure. A batch is what `collate` makes of samples, on the host."""

    model: nn.Module
    device: torch.device
    dtype: torch.dtype

    def collate(self, samples: Sequence[Sample]) -> Any:
        """Samples as a loader would hand them over."""

    def to_device(self, batch: Any) -> Any:
        """The batch's images on the device."""

    def detect(self, batch: Any) -> Any:
        """Final detections of a batch on the device, masks not pasted."""

    def paste(self, answers: Any, samples: Sequence[Sample]) -> None:
        """Masks of detections pasted into the images as they were before resizing."""

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Losses of a batch, from the host."""

    def stage_calls(self) -> list[StageCall]:
        """What is to be watched to tell the stages apart."""

    def counting(self, counts: list[Counts]) -> AbstractContextManager[None]:
        """While entered, every `detect` adds to `counts`."""

    def prepare_load(self, images: Images) -> str:
        """Gives random weights a realistic load; says how."""


def prepare_random_weights(
    subject: Subject, rpn_head: nn.Module, box_predictor: nn.Module, images: Images
) -> str:
    """Gives random weights a realistic load, by the subject's answers to the first images; says how."""
    subject.model.eval()
    quiet_residuals(subject.model)
    samples = [images.test_image(index) for index in range(CALIBRATION_IMAGES)]

    def run() -> None:
        for sample in samples:
            subject.detect(subject.to_device(subject.collate([sample])))

    spread_answers(rpn_head, box_predictor, run)
    return HOW.format(images=CALIBRATION_IMAGES)


class TrainBatch(NamedTuple):
    """Images and targets on the host."""

    images: ImageList
    targets: list[BoxList]


class OurDetector:
    """A `Subject`: the detector of a config."""

    def __init__(
        self, model: Detector, device: torch.device, dtype: torch.dtype, size_divisible: int
    ) -> None:
        if not isinstance(model, GeneralizedRCNN):
            raise ValueError(f"the benchmark takes two-stage detectors apart; {model.kind} is none")
        self.model: nn.Module = model
        self.detector = model
        self.device = device
        self.dtype = dtype
        self.size_divisible = size_divisible

    def collate(self, samples: Sequence[Sample]) -> TrainBatch:
        """Padded as the data loader pads."""
        images = to_image_list([sample.image for sample in samples], self.size_divisible)
        images = images.pin_memory() if self.device.type == "cuda" else images
        return TrainBatch(images, [sample.target for sample in samples])

    def to_device(self, batch: TrainBatch) -> ImageList:
        """The images alone."""
        return batch.images.to(self.device, non_blocking=True)

    def detect(self, batch: ImageList) -> list[BoxList]:
        """One BoxList an image."""
        with computing_in(self.dtype, self.device):
            answers = self.model(batch)
        return list(answers)

    def paste(self, answers: list[BoxList], samples: Sequence[Sample]) -> None:
        """As the evaluator does, into run lengths."""
        for answer, sample in zip(answers, samples, strict=True):
            found = answer.to("cpu").resize(sample.original_wh)
            width, height = sample.original_wh
            paste_masks_rle(found.get_field("mask"), found.bbox, (height, width))

    def losses(self, batch: TrainBatch) -> dict[str, Tensor]:
        """By name."""
        images = batch.images.to(self.device, non_blocking=True)
        with computing_in(self.dtype, self.device):
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
        """Slots in use before and after the heads."""
        heads = self.detector.roi_heads
        original = heads.detect

        def detect(features: Any, proposals: Any, image_hw: Tensor) -> Any:
            found = original(features, proposals, image_hw)
            counts.append(Counts(proposals.valid.sum(), found.valid.sum()))
            return found

        return replaced(heads, "detect", detect)

    def prepare_load(self, images: Images) -> str:
        """On the first images."""
        box_predictor = self.detector.roi_heads.box.predictor
        return prepare_random_weights(self, self.detector.rpn.head, box_predictor, images)
