"""Networks between the pooled region and the box predictor."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.conv_block import ConvNormAct
from maskrcnn_benchmark.layers.conv_norm import Conv2d
from maskrcnn_benchmark.layers.linear import Linear
from maskrcnn_benchmark.layers.norm import NormFactory
from maskrcnn_benchmark.modeling.group_norm import build_group_norm
from maskrcnn_benchmark.modeling.registry import ROI_BOX_FEATURE_EXTRACTORS
from maskrcnn_benchmark.modeling.roi_heads.pooler import Pooler, build_box_pooler


def make_fc(in_features: int, out_features: int, norm: NormFactory | None) -> nn.Module:
    """A fully connected layer, with a norm after it where given."""
    linear = Linear(in_features, out_features, bias=norm is None)
    nn.init.kaiming_uniform_(linear.weight, a=1)
    if norm is None:
        nn.init.zeros_(linear.bias)
        return linear
    return nn.Sequential(linear, norm(out_features))


class FPN2MLPFeatureExtractor(nn.Module):
    """Two fully connected layers (FPN, section 4.2)."""

    def __init__(self, pooler: Pooler, in_channels: int, out_channels: int, norm: NormFactory | None) -> None:
        super().__init__()
        self.pooler = pooler
        height, width = pooler.output_size
        self.fc6 = make_fc(in_channels * height * width, out_channels, norm)
        self.fc7 = make_fc(out_channels, out_channels, norm)
        self.out_channels = out_channels

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Region vectors [K, out_channels] of `rois` [K, 5]."""
        x = self.pooler(features, rois).flatten(1)
        return F.relu(self.fc7(F.relu(self.fc6(x), inplace=True)), inplace=True)


class FPNXconv1fcFeatureExtractor(nn.Module):
    """Several 3x3 convolutions and one fully connected layer (Wu and He 2018, section 4.2)."""

    def __init__(
        self,
        pooler: Pooler,
        in_channels: int,
        conv_channels: int,
        num_convs: int,
        out_channels: int,
        norm: NormFactory | None,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.pooler = pooler
        self.xconvs = ConvNormAct()
        channels = in_channels
        for number in range(num_convs):
            conv = Conv2d(channels, conv_channels, 3, padding=dilation, dilation=dilation, bias=norm is None)
            nn.init.normal_(conv.weight, std=0.01)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            # in published checkpoints each ReLU has a number too
            first = number * (2 if norm is None else 3)
            names = (str(first), str(first + 1))
            self.xconvs.add(conv, None if norm is None else norm(conv_channels), names=names)
            channels = conv_channels
        height, width = pooler.output_size
        self.fc6 = make_fc(channels * height * width, out_channels, norm=None)
        self.out_channels = out_channels

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Region vectors [K, out_channels] of `rois` [K, 5]."""
        x = self.xconvs(self.pooler(features, rois))
        return F.relu(self.fc6(x.flatten(1)), inplace=True)


@ROI_BOX_FEATURE_EXTRACTORS.register("FPN2MLPFeatureExtractor")
def build_fpn_2mlp(cfg: ConfigNode, in_channels: int) -> FPN2MLPFeatureExtractor:
    """The extractor of the FPN configs."""
    head = cfg.MODEL.ROI_BOX_HEAD
    norm = build_group_norm(cfg) if head.USE_GN else None
    pooler = build_box_pooler(cfg, channels_last=False)
    return FPN2MLPFeatureExtractor(pooler, in_channels, head.MLP_HEAD_DIM, norm)


@ROI_BOX_FEATURE_EXTRACTORS.register("FPNXconv1fcFeatureExtractor")
def build_fpn_xconv1fc(cfg: ConfigNode, in_channels: int) -> FPNXconv1fcFeatureExtractor:
    """The extractor of the GroupNorm configs."""
    head = cfg.MODEL.ROI_BOX_HEAD
    return FPNXconv1fcFeatureExtractor(
        pooler=build_box_pooler(cfg, channels_last=True),
        in_channels=in_channels,
        conv_channels=head.CONV_HEAD_DIM,
        num_convs=head.NUM_STACKED_CONVS,
        out_channels=head.MLP_HEAD_DIM,
        norm=build_group_norm(cfg) if head.USE_GN else None,
        dilation=head.DILATION,
    )
