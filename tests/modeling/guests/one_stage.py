"""A detector without regions as a user's own file may hold it; importing it registers it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.detector.interface import Detector, InputFormat, build_input_format
from maskrcnn_benchmark.modeling.losses import LossSum, LossSums
from maskrcnn_benchmark.modeling.registry import DETECTORS
from maskrcnn_benchmark.structures.detections import Detections
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.targets import Targets

STRIDE, NUM_DETECTIONS = 4, 5


class Centers(Detector):
    """Scores each position of the finest map for whether an object's centre lies there."""

    kind = "Centers"

    def __init__(self, backbone: nn.Module, input_format: InputFormat) -> None:
        super().__init__(backbone, input_format, num_classes=2)
        self.score = nn.Conv2d(backbone.out_channels, 1, 1)  # type: ignore[arg-type]

    def logits(self, images: ImageList) -> Tensor:
        """[N, H, W] of the finest map."""
        return self.score(self.backbone(self.normalize(images))[0]).squeeze(1).float()

    def losses(self, images: ImageList, targets: Targets) -> LossSums:
        logits = self.logits(images)
        centers = ((targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2 / STRIDE).long()
        wanted = torch.zeros_like(logits).flatten(1)
        index = centers[..., 1] * logits.shape[2] + centers[..., 0]
        wanted.scatter_reduce_(1, index, targets.valid.float(), "amax")
        total = F.binary_cross_entropy_with_logits(logits.flatten(1), wanted, reduction="sum")
        return {"loss_center": LossSum(total, targets.valid.sum())}

    def detect(self, images: ImageList) -> Detections:
        logits = self.logits(images)
        scores, index = logits.flatten(1).sigmoid().topk(NUM_DETECTIONS)
        x, y = index % logits.shape[2] * STRIDE, index // logits.shape[2] * STRIDE
        boxes = torch.stack([x, y, x + STRIDE - 1, y + STRIDE - 1], dim=-1).float()
        return Detections(boxes, scores, torch.ones_like(index), torch.ones_like(index, dtype=torch.bool), {})


@DETECTORS.register("Centers")
def build_centers(cfg: ConfigNode, backbone: nn.Module) -> Centers:
    return Centers(backbone, build_input_format(cfg))
