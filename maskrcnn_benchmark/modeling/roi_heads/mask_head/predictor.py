"""Mask logits from region maps (He et al., Mask R-CNN, figure 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.linear import ConvTranspose2d, fused_linear
from maskrcnn_benchmark.modeling.registry import ROI_MASK_PREDICTOR


class MaskRCNNC4Predictor(nn.Module):
    """A 2x2 transposed convolution of stride 2, a ReLU and a 1x1 convolution with one mask a class.

    Both are matrix products at every position, and are computed as such: the four outputs of a position stay
    side by side until the last step, where only logits are left to move.
    """

    def __init__(self, in_channels: int, hidden_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv5_mask = ConvTranspose2d(in_channels, hidden_channels, 2, 2)
        self.mask_fcn_logits = nn.Conv2d(hidden_channels, num_classes, 1)
        for layer in (self.conv5_mask, self.mask_fcn_logits):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits of region maps `x` [K, D, h, w].

        With `labels` [K] only each region's own class is computed: [K, 2h, 2w]; without, all: [K, C, 2h, 2w].
        """
        num_rois, _, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).flatten(1, 2)  # [K, h * w, D], a view of channels_last maps
        hidden = fused_linear(rows, self.conv5_mask, self._deconvolution_matrix, relu=True)
        hidden = hidden.view(
            num_rois, height * width * 4, self.conv5_mask.out_channels
        )  # [K, h * w * 2 * 2, E]
        # [C, E] by way of a layout in which the gradient gets the weight's strides, as DDP wants them
        classes = self.mask_fcn_logits.weight.permute(0, 2, 3, 1).flatten(1)
        if labels is None:
            logits = F.linear(hidden, classes, self.mask_fcn_logits.bias)
        else:
            own_bias = self.mask_fcn_logits.bias[labels].view(-1, 1, 1)  # type: ignore[index]
            logits = torch.bmm(hidden, classes[labels].unsqueeze(-1)) + own_bias  # [K, h * w * 4, 1]
        logits = logits.view(num_rois, height, width, 2, 2, logits.shape[-1]).permute(0, 5, 1, 3, 2, 4)
        logits = logits.reshape(num_rois, logits.shape[1], 2 * height, 2 * width)
        return logits if labels is None else logits.squeeze(1)

    def _deconvolution_matrix(self) -> tuple[Tensor, Tensor]:
        """Weight [2 * 2 * E, D] and bias of the product that the transposed convolution is at a position."""
        weight = self.conv5_mask.weight.permute(0, 2, 3, 1).flatten(1)
        return weight.t(), self.conv5_mask.bias.repeat(4)  # type: ignore[union-attr]


@ROI_MASK_PREDICTOR.register("MaskRCNNC4Predictor")
def build_mask_c4_predictor(cfg: ConfigNode, in_channels: int) -> MaskRCNNC4Predictor:
    """The predictor of the C4 and FPN configs."""
    num_classes = cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES
    return MaskRCNNC4Predictor(in_channels, cfg.MODEL.ROI_MASK_HEAD.CONV_LAYERS[-1], num_classes)
