"""A body as an image classifier, to be trained before it becomes a detector's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX, Body
from maskrcnn_benchmark.modeling.registry import BODIES
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list


class Classifier(nn.Module):
    """The body's last map, averaged over the image, and one linear layer.

    Pixels are normalised as the detector normalises them, so that the body moves there as it is.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        body: Body,
        num_classes: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        to_bgr255: bool = True,
    ) -> None:
        """`num_classes` has no background. For the others see detector.interface.InputFormat."""
        super().__init__()
        self.trunk = body
        self.fc = nn.Linear(body.out_channels[-1], num_classes)
        self.to_bgr255 = to_bgr255
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(3, 1, 1), persistent=False)

    def forward(
        self, images: ImageList | Tensor, targets: Sequence[BoxList] | None = None
    ) -> dict[str, Tensor] | Tensor:
        """In training loss_classifier (0-dim float32); in evaluation logits [N, num_classes] float32.

        Images: uint8 [N, 3, H, W] in blue, green, red, all of one size. Targets: the first label of each
        image's is its class.
        """
        pixels = to_image_list(images).tensors.to(self.pixel_mean.device)
        if not self.to_bgr255:
            pixels = pixels.flip(1) / 255
        x = self.trunk((pixels - self.pixel_mean) / self.pixel_std)[-1]
        logits = self.fc(x.mean(dim=(2, 3))).float()
        if not self.training:
            return logits
        assert targets is not None, "training needs targets"
        return {"loss_classifier": F.cross_entropy(logits, labels_of(targets).to(logits.device))}


def labels_of(targets: Sequence[BoxList]) -> Tensor:
    """The class of each image [N]."""
    return torch.cat([target.get_field("labels")[:1] for target in targets])


def detector_state(body: nn.Module) -> dict[str, Tensor]:
    """The body's weights as a detector with frozen batch norm takes them.

    A frozen norm has no eps and counts no batches: the eps goes into the variance.
    """
    eps = {
        f"{name}.running_var": module.eps
        for name, module in body.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    return {
        BODY_PREFIX + name: tensor.detach() + eps.get(name, 0.0)
        for name, tensor in body.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def build_classifier(cfg: ConfigNode, body_name: str, num_classes: int) -> Classifier:
    """The body `body_name` (without a neck: V-39) as MODEL's keys vary it, with INPUT's pixel statistics.

    Raises ValueError for an unknown body, naming the nearest.
    """
    body = BODIES[body_name](cfg, body_name)
    classifier = Classifier(body, num_classes, cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD, cfg.INPUT.TO_BGR255)
    return classifier.to(memory_format=torch.channels_last)
