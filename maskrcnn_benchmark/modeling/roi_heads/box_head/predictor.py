"""Class logits and box deltas from region vectors (Fast R-CNN, section 2.1)."""

from __future__ import annotations

from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.registry import ROI_BOX_PREDICTOR


class FPNPredictor(nn.Module):
    """Two linear layers: region vectors to class logits and box deltas."""

    def __init__(self, in_channels: int, num_classes: int, num_box_classes: int) -> None:
        """`num_classes` counts the background. `num_box_classes`: the same, or 2 for class-agnostic boxes."""
        super().__init__()
        self.cls_score = nn.Linear(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, num_box_classes * 4)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        for layer in (self.cls_score, self.bbox_pred):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [K, C] and box deltas [K, 4 * C] of region vectors `x` [K, D] or [K, D, 1, 1].

        Class-agnostic deltas are [K, 8].
        """
        if x.dim() == 4:
            assert x.shape[2:] == (1, 1), "FPNPredictor takes vectors; FastRCNNPredictor takes region maps"
            x = x.flatten(1)
        return self.cls_score(x), self.bbox_pred(x)


class FastRCNNPredictor(FPNPredictor):
    """The same over the mean of each region's map."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As FPNPredictor's, of region maps [K, D, h, w]."""
        assert x.dim() == 4, "FastRCNNPredictor takes region maps; FPNPredictor takes vectors"
        return super().forward(x.mean((2, 3)))


@ROI_BOX_PREDICTOR.register("FastRCNNPredictor")
def build_fast_rcnn_predictor(cfg: ConfigNode, in_channels: int) -> FastRCNNPredictor:
    """The predictor of the C4 configs."""
    num_classes = cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES
    return FastRCNNPredictor(in_channels, num_classes, 2 if cfg.MODEL.CLS_AGNOSTIC_BBOX_REG else num_classes)


@ROI_BOX_PREDICTOR.register("FPNPredictor")
def build_fpn_predictor(cfg: ConfigNode, in_channels: int) -> FPNPredictor:
    """The predictor of the FPN configs."""
    num_classes = cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES
    return FPNPredictor(in_channels, num_classes, 2 if cfg.MODEL.CLS_AGNOSTIC_BBOX_REG else num_classes)
