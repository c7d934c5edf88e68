"""What ResNets are made of: the stem, basic blocks and bottlenecks."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers.conv_block import ConvFactory, ConvNormAct
from maskrcnn_benchmark.layers.conv_norm import Conv2d
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


def conv3x3(in_channels: int, out_channels: int, stride: int, groups: int, dilation: int) -> nn.Module:
    """A 3x3 convolution of ResNets, [N,C,H,W] -> [N,D,H/stride,W/stride], without bias: a `ConvFactory`.

    Its initial values are Kaiming's uniform ones with a = 1, no gain for ReLU; those of osa.py are normal.
    """
    return _conv(in_channels, out_channels, 3, stride, groups, dilation)


def _projection(in_channels: int, out_channels: int, stride: int, norm: NormFactory) -> ConvNormAct | None:
    """The 1x1 convolution and norm beside a block that changes the map; None for one that keeps it."""
    if stride == 1 and in_channels == out_channels:
        return None
    return ConvNormAct().add(_conv(in_channels, out_channels, 1, stride), norm(out_channels), relu=False)


class Stem(ConvNormAct):
    """7x7 convolution of stride 2, norm, ReLU, 3x3 max pooling of stride 2."""

    def __init__(self, out_channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.add(_conv(3, out_channels, 7, stride=2), norm(out_channels), names=("conv1", "bn1"))

    def forward(self, images: Tensor) -> Tensor:
        """images [N,3,H,W] -> [N,C,H/4,W/4]."""
        return F.max_pool2d(super().forward(images), kernel_size=3, stride=2, padding=1)


class ResidualBlock(ConvNormAct):
    """Convolutions beside an identity, or beside a 1x1 projection where the shape changes.

    With gradients off the block may write its result over its input. `make_conv` of the subclasses makes
    their 3x3 convolutions.
    """

    downsample: ConvNormAct | None

    def add_numbered(self, conv: nn.Module, norm: nn.Module) -> None:
        """Appends a link as conv1 and bn1, conv2 and bn2, ..."""
        number = len(self.links) + 1
        self.add(conv, norm, names=(f"conv{number}", f"bn{number}"))

    def forward(self, x: Tensor) -> Tensor:
        """x [N,C,H,W] -> [N,out_channels,H/stride,W/stride]."""
        out, last = x, len(self.links) - 1
        for index in range(last):
            out = self.run(index, out)
        return self.run(last, out, residual=x if self.downsample is None else self.downsample(x))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions (He et al. 2016, figure 5 left)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: NormFactory,
        dilation: int = 1,
        make_conv: ConvFactory = conv3x3,
    ) -> None:
        super().__init__()
        self.downsample = _projection(in_channels, out_channels, stride, norm)
        self.add_numbered(make_conv(in_channels, out_channels, stride, 1, dilation), norm(out_channels))
        self.add_numbered(make_conv(out_channels, out_channels, 1, 1, dilation), norm(out_channels))


class Bottleneck(ResidualBlock):
    """1x1, 3x3, 1x1 convolutions (figure 5 right).

    stride_in_1x1: the stride is in the first 1x1 (the original models) or in the 3x3 (torchvision's).
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
        make_conv: ConvFactory = conv3x3,
    ) -> None:
        super().__init__()
        self.downsample = _projection(in_channels, out_channels, stride, norm)
        width = bottleneck_channels
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.add_numbered(_conv(in_channels, width, 1, stride_1x1), norm(width))
        self.add_numbered(make_conv(width, width, stride_3x3, num_groups, dilation), norm(width))
        self.add_numbered(_conv(width, out_channels, 1), norm(out_channels))
