"""The detector: body, proposals, heads (Ren et al., Faster R-CNN, figure 2; He et al., Mask R-CNN, figure
1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.roi_heads.roi_heads import CombinedROIHeads
from maskrcnn_benchmark.modeling.rpn.rpn import RPN
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Detections
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list
from maskrcnn_benchmark.structures.plain_dicts import boxlist_from_dict, boxlist_to_dict
from maskrcnn_benchmark.structures.targets import Targets, pad_targets

Images = ImageList | Tensor | Sequence[Tensor]
PlainDict = Mapping[str, Any]


class GeneralizedRCNN(nn.Module):
    """Images to losses in training, to detections in evaluation."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        rpn: RPN,
        roi_heads: CombinedROIHeads,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        to_bgr255: bool = True,
        size_divisible: int = 0,
        plain_dicts: bool = False,
        num_classes: int | None = None,
    ) -> None:
        """`pixel_mean`, `pixel_std`: of the network's three input channels.

        `to_bgr255`: the network takes blue, green, red in 0..255 (True), or red, green, blue in 0..1 (False).
        `size_divisible`: batches made here from single images are padded to a multiple of this.
        `plain_dicts`: detections come as dictionaries (structures.plain_dicts) instead of BoxLists.
        `num_classes`: with the background; labels of targets beyond it are refused.
        """
        super().__init__()
        self.backbone = backbone
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.to_bgr255 = to_bgr255
        self.size_divisible = size_divisible
        self.plain_dicts = plain_dicts
        self.num_classes = num_classes
        # Not persistent: published checkpoints have no such entries.
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(3, 1, 1), persistent=False)

    def forward(
        self, images: Images, targets: Sequence[BoxList | PlainDict] | Targets | None = None
    ) -> dict[str, Tensor] | list[BoxList] | list[dict[str, Tensor]]:
        """Losses (0-dimensional float32, by name) in training; one BoxList an image in evaluation.

        Images: an ImageList, a batch [N, 3, H, W] or a list of [3, H, W]; uint8 is taken for raw pixels in
        blue, green, red, floating point for already normalised.
        Targets: one an image, a BoxList or a dictionary (structures.plain_dicts), or a padded batch.
        Detections have the fields scores, labels and, with a mask head, mask (probabilities [n, 1, M, M]), by
        descending score, in the frame of the images given.

        Raises ValueError in training without targets, with masks missing, or with labels of no class.
        """
        images = self._to_batch(images)
        if not self.training:
            boxlists = self.inference(images).to_boxlists(images.image_sizes)
            return [boxlist_to_dict(boxlist) for boxlist in boxlists] if self.plain_dicts else boxlists
        targets = self._pad(targets, images)
        features = self.backbone(self.normalize(images))
        proposals, rpn_losses = self.rpn(features, images.sizes, targets)
        return rpn_losses | self.roi_heads.losses(features, proposals, targets)

    def inference(self, images: Images) -> Detections:
        """Padded detections. From a batch on the device to these nothing waits for the device."""
        images = self._to_batch(images)
        features = self.backbone(self.normalize(images))
        proposals, _ = self.rpn(features, images.sizes)
        return self.roi_heads.detect(features, proposals, images.sizes)

    def normalize(self, images: ImageList) -> Tensor:
        """Network input [N, 3, H, W] float32, channels_last; the padding is zero, as in training of old."""
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

    def _to_batch(self, images: Images) -> ImageList:
        return to_image_list(images, self.size_divisible).to(self.pixel_mean.device)

    def _pad(self, targets: Sequence[BoxList | PlainDict] | Targets | None, images: ImageList) -> Targets:
        if targets is None:
            raise ValueError("in training mode the model needs targets: one BoxList an image with labels")
        if isinstance(targets, Targets):
            return targets
        if len(targets) != len(images.image_sizes):
            raise ValueError(f"{len(images.image_sizes)} images but {len(targets)} targets")
        boxlists = [
            target if isinstance(target, BoxList) else boxlist_from_dict(target, size)
            for target, size in zip(targets, images.image_sizes, strict=True)
        ]
        return pad_targets(boxlists, self.pixel_mean.device, num_classes=self.num_classes)
