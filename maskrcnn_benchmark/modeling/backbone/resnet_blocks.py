"""What ResNets are made of: the stem, basic blocks, bottlenecks, and a stage of either."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers.conv_norm import Conv2d, fused_conv2d
from maskrcnn_benchmark.layers.norm import NormFactory


def _conv(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, dilation: int = 1
) -> Conv2d:
    """A convolution that keeps the size (times 1/stride), without a bias."""
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=kernel // 2 * dilation,
        dilation=dilation,
        groups=groups,
        bias=False,
    )
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return conv


def _projection(in_channels: int, out_channels: int, stride: int, norm: NormFactory) -> nn.Sequential | None:
    """What stands in the place of the identity where the shape changes."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(_conv(in_channels, out_channels, 1, stride), norm(out_channels))


def _project(x: Tensor, downsample: nn.Sequential | None) -> Tensor:
    if downsample is None:
        return x
    projection, norm = downsample
    assert isinstance(projection, Conv2d)
    return fused_conv2d(x, projection, norm)


class Stem(nn.Module):
    """7x7 convolution of stride 2, norm, ReLU, 3x3 max pooling of stride 2."""

    def __init__(self, out_channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv1 = _conv(3, out_channels, 7, stride=2)
        self.bn1 = norm(out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """images [N,3,H,W] -> [N,C,H/4,W/4]."""
        x = fused_conv2d(images, self.conv1, self.bn1, relu=True)
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside an identity, or beside a 1x1 projection (He et al. 2016, figure 5 left).

    With gradients off the block may write its result over its input.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, norm: NormFactory, dilation: int = 1
    ) -> None:
        super().__init__()
        self.downsample = _projection(in_channels, out_channels, stride, norm)
        self.conv1 = _conv(in_channels, out_channels, 3, stride, dilation=dilation)
        self.bn1 = norm(out_channels)
        self.conv2 = _conv(out_channels, out_channels, 3, dilation=dilation)
        self.bn2 = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [N,C,H,W] -> [N,out_channels,H/stride,W/stride]."""
        out = fused_conv2d(x, self.conv1, self.bn1, relu=True)
        return fused_conv2d(out, self.conv2, self.bn2, relu=True, residual=_project(x, self.downsample))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside an identity, or beside a 1x1 projection (figure 5 right).

    stride_in_1x1: the stride is in the first 1x1 (the original models) or in the 3x3 (torchvision's).
    With gradients off the block may write its result over its input.
    """

    def __init__(
        self,
        in_channels: int,
        bottleneck_channels: int,
        out_channels: int,
        num_groups: int,
        stride_in_1x1: bool,
        stride: int,
        norm: NormFactory,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.downsample = _projection(in_channels, out_channels, stride, norm)
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = _conv(in_channels, bottleneck_channels, 1, stride_1x1)
        self.bn1 = norm(bottleneck_channels)
        self.conv2 = _conv(bottleneck_channels, bottleneck_channels, 3, stride_3x3, num_groups, dilation)
        self.bn2 = norm(bottleneck_channels)
        self.conv3 = _conv(bottleneck_channels, out_channels, 1)
        self.bn3 = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [N,C,H,W] -> [N,out_channels,H/stride,W/stride]."""
        out = fused_conv2d(x, self.conv1, self.bn1, relu=True)
        out = fused_conv2d(out, self.conv2, self.bn2, relu=True)
        return fused_conv2d(out, self.conv3, self.bn3, relu=True, residual=_project(x, self.downsample))
