"""The small network that slides over the feature maps and scores and shifts the anchors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.conv_norm import Conv2d, fused_conv2d
from maskrcnn_benchmark.modeling.registry import RPN_HEADS


class RPNHead(nn.Module):
    """A 3x3 convolution and two 1x1 predictors, shared by all levels (Faster R-CNN, section 3.1)."""

    def __init__(self, in_channels: int, num_anchors: int, mid_channels: int = 0) -> None:
        """`num_anchors`: anchors at each position. `mid_channels`: of the 3x3; 0 for `in_channels`."""
        super().__init__()
        mid_channels = mid_channels or in_channels
        self.conv = Conv2d(in_channels, mid_channels, kernel_size=3, padding=1)
        self.cls_logits = nn.Conv2d(mid_channels, num_anchors, kernel_size=1)
        self.bbox_pred = nn.Conv2d(mid_channels, num_anchors * 4, kernel_size=1)
        for layer in (self.conv, self.cls_logits, self.bbox_pred):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness logits [N, A, Hl, Wl] and box deltas [N, 4 * A, Hl, Wl] of each level.

        Channels 4 * a to 4 * a + 3 are the deltas of anchor a. Both predictors run as one 1x1 convolution, so
        that the widest map is read once.
        """
        weight = torch.cat([self.cls_logits.weight, self.bbox_pred.weight])
        bias = torch.cat([self.cls_logits.bias, self.bbox_pred.bias])  # type: ignore[list-item]
        num_anchors = self.cls_logits.out_channels
        logits, deltas = [], []
        for feature in features:
            hidden = fused_conv2d(feature, self.conv, relu=True)
            both = F.conv2d(hidden, weight, bias).permute(0, 2, 3, 1)  # [N, H, W, 5A]
            logits.append(both[..., :num_anchors].permute(0, 3, 1, 2))
            deltas.append(both[..., num_anchors:].permute(0, 3, 1, 2))
        return logits, deltas


@RPN_HEADS.register("SingleConvRPNHead")
def build_single_conv_rpn_head(cfg: ConfigNode, in_channels: int, num_anchors: int) -> RPNHead:
    """The head of Faster R-CNN and FPN."""
    return RPNHead(in_channels, num_anchors, cfg.MODEL.RPN.MID_CHANNELS)
