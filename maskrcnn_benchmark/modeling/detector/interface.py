"""What the rest of the package asks of a detector, and what every detector does with images and targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.losses import LossSums, mean_losses
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Detections
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list
from maskrcnn_benchmark.structures.plain_dicts import boxlist_from_dict, boxlist_to_dict
from maskrcnn_benchmark.structures.targets import Targets, pad_targets

Images = ImageList | Tensor | Sequence[Tensor]
PlainDict = Mapping[str, Any]
GivenTargets = Sequence[BoxList | PlainDict] | Targets


@dataclass(frozen=True)
class InputFormat:
    """The images that a network takes.

    Attributes:
        pixel_mean, pixel_std: of the network's three input channels.
        to_bgr255: the network takes blue, green, red in 0..255 (True), or red, green, blue in 0..1 (False).
        size_divisible: batches made from single images are padded to a multiple of this.
    """

    pixel_mean: Sequence[float]
    pixel_std: Sequence[float]
    to_bgr255: bool = True
    size_divisible: int = 0


class Detector(nn.Module):
    """Images to losses in training, to detections in evaluation.

    To add one, from the package or from a file of your own: derive a class from this with `losses` and
    `detect`, register a builder with `@DETECTORS.register("name")`, and name it in MODEL.META_ARCHITECTURE.
    The builder is called as builder(cfg, backbone).

    Attributes:
        kind: what tables call it ("Mask R-CNN").
        iou_types: the evaluations that score its detections: bbox, segm, ...
        target_fields: fields of the ground truth that it needs beside boxes, labels and masks.
        backbone: gives the feature maps; has `out_channels`, and `strides` where they are known.
        num_classes: with the background; labels of targets beyond it are refused. None: not known.
        plain_dicts: detections come as dictionaries (structures.plain_dicts) instead of BoxLists.
        pixel_mean, pixel_std [3, 1, 1], to_bgr255, size_divisible: see InputFormat.
    """

    kind: str = "detector"
    iou_types: tuple[str, ...] = ("bbox",)
    target_fields: tuple[str, ...] = ()
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, backbone: nn.Module, input_format: InputFormat, num_classes: int | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.to_bgr255 = input_format.to_bgr255
        self.size_divisible = input_format.size_divisible
        self.num_classes = num_classes
        self.plain_dicts = False
        # Not persistent: published checkpoints have no such entries.
        for name in ("pixel_mean", "pixel_std"):
            values = torch.tensor(getattr(input_format, name)).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def losses(self, images: ImageList, targets: Targets) -> LossSums:
        """The losses of a batch by name: the same names, and every weight in the graph, for every batch."""
        raise NotImplementedError

    def detect(self, images: ImageList) -> Detections:
        """Padded detections of a batch on the detector's device."""
        raise NotImplementedError

    def to_boxlists(self, detections: Detections, image_sizes: Sequence[tuple[int, int]]) -> list[BoxList]:
        """One BoxList an image; `image_sizes` are (height, width). For a detector with fields to override."""
        return detections.to_boxlists(image_sizes)

    def dense_parts(self) -> list[nn.Module]:
        """The modules that MODEL.COMPILE compiles: tensors in, tensors out, one graph each."""
        return [self.backbone]

    def forward(
        self, images: Images, targets: GivenTargets | None = None
    ) -> dict[str, Tensor] | list[BoxList] | list[dict[str, Tensor]]:
        """Losses (0-dimensional float32, by name) in training; one BoxList an image in evaluation.

        Images: an ImageList, a batch [N, 3, H, W] or a list of [3, H, W]; uint8 is taken for raw pixels in
        blue, green, red, floating point for already normalised.
        Targets: one an image, a BoxList or a dictionary (structures.plain_dicts), or a padded batch.
        Losses are means over all processes, which meet in one collective.
        Detections have the fields scores, labels and, with a mask head, mask (probabilities [n, 1, M, M]), by
        descending score, in the frame of the images given.

        Raises ValueError in training without targets, with masks missing, or with labels of no class.
        """
        batch = self.to_batch(images)
        if self.training:
            return mean_losses(self.losses(batch, self.to_targets(targets, batch)))
        boxlists = self.to_boxlists(self.detect(batch), batch.image_sizes)
        return [boxlist_to_dict(boxlist) for boxlist in boxlists] if self.plain_dicts else boxlists

    def inference(self, images: Images) -> Detections:
        """Padded detections. From a batch on the device to these nothing waits for the device."""
        return self.detect(self.to_batch(images))

    def normalize(self, images: ImageList) -> Tensor:
        """Network input [N, 3, H, W] float32, channels_last; the padding is zero, the mean pixel."""
        x = images.tensors
        if not x.is_floating_point():
            height, width = x.shape[-2:]
            if not self.to_bgr255:
                x = x.flip(1) / 255
            x = (x - self.pixel_mean).div_(self.pixel_std)
            rows = torch.arange(height, device=x.device) < images.sizes[:, :1]  # [N, H]
            columns = torch.arange(width, device=x.device) < images.sizes[:, 1:]  # [N, W]
            x.mul_((rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1))
        return x.contiguous(memory_format=torch.channels_last)

    def to_batch(self, images: Images) -> ImageList:
        """Images in any form as one padded batch on the detector's device."""
        return to_image_list(images, self.size_divisible).to(self.pixel_mean.device)

    def to_targets(self, targets: GivenTargets | None, images: ImageList) -> Targets:
        """Targets in any form as one padded batch on the detector's device; raises as `forward`."""
        if targets is None:
            raise ValueError("in training mode the model needs targets: one BoxList an image with labels")
        if isinstance(targets, Targets):
            return targets
        if len(targets) != len(images.image_sizes):
            raise ValueError(f"{len(images.image_sizes)} images but {len(targets)} targets")
        boxlists = [
            target if isinstance(target, BoxList) else boxlist_from_dict(target, size, self.target_fields)
            for target, size in zip(targets, images.image_sizes, strict=True)
        ]
        return pad_targets(
            boxlists, self.pixel_mean.device, num_classes=self.num_classes, fields=self.target_fields
        )


def build_input_format(cfg: ConfigNode) -> InputFormat:
    """The images that the config's network takes: INPUT, and DATALOADER.SIZE_DIVISIBILITY."""
    return InputFormat(
        cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD, cfg.INPUT.TO_BGR255, cfg.DATALOADER.SIZE_DIVISIBILITY
    )
