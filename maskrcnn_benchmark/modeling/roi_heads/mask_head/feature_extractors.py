"""The small fully convolutional network between the pooled region and the mask predictor."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.conv_block import ConvNormAct
from maskrcnn_benchmark.layers.conv_norm import Conv2d, fused_conv2d
from maskrcnn_benchmark.layers.norm import NormFactory
from maskrcnn_benchmark.modeling.group_norm import build_group_norm
from maskrcnn_benchmark.modeling.registry import ROI_MASK_FEATURE_EXTRACTORS
from maskrcnn_benchmark.modeling.roi_heads.pooler import Pooler, build_mask_pooler


class MaskRCNNFPNFeatureExtractor(nn.Module):
    """3x3 convolutions, each followed by a ReLU (He et al., Mask R-CNN, figure 4 right)."""

    def __init__(
        self,
        pooler: Pooler,
        in_channels: int,
        layers: Sequence[int],
        dilation: int = 1,
        norm: NormFactory | None = None,
    ) -> None:
        """`layers`: output channels of each convolution."""
        super().__init__()
        self.pooler = pooler
        self.num_convs = len(layers)
        for i, channels in enumerate(layers, start=1):
            self.add_module(f"mask_fcn{i}", _conv3x3(in_channels, channels, dilation, norm))
            in_channels = channels
        self.out_channels = in_channels

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Region maps [K, out_channels, h, w] of `rois` [K, 5]."""
        x = self.pooler(features, rois)
        for i in range(1, self.num_convs + 1):
            block = self.get_submodule(f"mask_fcn{i}")
            x = block(x) if isinstance(block, ConvNormAct) else fused_conv2d(x, block, relu=True)
        return x


def _conv3x3(in_channels: int, out_channels: int, dilation: int, norm: NormFactory | None) -> nn.Module:
    """A convolution alone, or a ConvNormAct where a norm follows; a ReLU ends either."""
    conv = Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=norm is None)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if norm is None:
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        return conv
    return ConvNormAct().add(conv, norm(out_channels))


@ROI_MASK_FEATURE_EXTRACTORS.register("MaskRCNNFPNFeatureExtractor")
def build_mask_fpn(cfg: ConfigNode, in_channels: int) -> MaskRCNNFPNFeatureExtractor:
    """The extractor of the FPN configs."""
    head = cfg.MODEL.ROI_MASK_HEAD
    return MaskRCNNFPNFeatureExtractor(
        pooler=build_mask_pooler(cfg),
        in_channels=in_channels,
        layers=head.CONV_LAYERS,
        dilation=head.DILATION,
        norm=build_group_norm(cfg) if head.USE_GN else None,
    )
