"""The modules of VoVNets: convolutions under the published names, and one-shot aggregation.

Lee et al. 2019, "An Energy and GPU-Computation Efficient Backbone Network" (section 3.2: the aggregation);
Lee and Park 2020, "CenterMask" (section 3.3: identity and effective squeeze-excitation).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers.concat_conv import concat_conv2d
from maskrcnn_benchmark.layers.conv_block import ConvFactory, ConvNormAct
from maskrcnn_benchmark.layers.conv_norm import Conv2d, fused_conv2d
from maskrcnn_benchmark.layers.norm import NormFactory


def conv3x3(
    in_channels: int, out_channels: int, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Module:
    """A 3x3 convolution of VoVNets, [N,C,H,W] -> [N,D,H/stride,W/stride], without bias: a `ConvFactory`.

    Its initial values are Kaiming's normal ones, gain for ReLU; those of resnet_blocks.py are uniform.
    """
    return _conv(3, in_channels, out_channels, stride, groups, dilation)


def conv1x1(
    in_channels: int, out_channels: int, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Module:
    """A 1x1 convolution of VoVNets, [N,C,H,W] -> [N,D,H/stride,W/stride], initialised as `conv3x3`."""
    return _conv(1, in_channels, out_channels, stride, groups, dilation)


def _conv(
    kernel: int, in_channels: int, out_channels: int, stride: int, groups: int, dilation: int
) -> nn.Module:
    padding = kernel // 2 * dilation
    conv = Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return conv


def add_conv(
    block: ConvNormAct,
    name: str,
    in_channels: int,
    out_channels: int,
    norm: NormFactory,
    stride: int = 1,
    make: ConvFactory = conv3x3,
) -> ConvNormAct:
    """Appends a convolution, its norm and a ReLU under the published names."""
    conv = make(in_channels, out_channels, stride, 1, 1)
    return block.add(conv, norm(out_channels), names=(f"{name}/conv", f"{name}/norm"))


def add_separable_conv(
    block: ConvNormAct,
    name: str,
    in_channels: int,
    out_channels: int,
    norm: NormFactory,
    stride: int = 1,
    make: ConvFactory = conv3x3,
) -> ConvNormAct:
    """The depthwise-separable one: 3x3 within each channel, then a 1x1 across them, its norm and a ReLU."""
    depthwise = make(in_channels, in_channels, stride, in_channels, 1)
    block.add(depthwise, relu=False, names=(f"{name}/dw_conv3x3", ""))
    pointwise = conv1x1(in_channels, out_channels)
    return block.add(pointwise, norm(out_channels), names=(f"{name}/pw_conv1x1", f"{name}/pw_norm"))


class EffectiveSqueezeExcitation(nn.Module):
    """A factor a channel, from the means over the map by one layer of full width and a hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = Conv2d(channels, channels, 1)
        nn.init.kaiming_normal_(self.fc.weight)
        assert self.fc.bias is not None
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [N,C,H,W] -> factors [N,C,1,1] in 0..1."""
        return F.hardsigmoid(fused_conv2d(x.mean((2, 3), keepdim=True), self.fc))


class OSAModule(nn.Module):
    """One-shot aggregation: a chain of 3x3 convolutions; the input and every link are joined once, by a 1x1.

    depthwise: separable 3x3 convolutions, in a chain that starts from the input brought to layer_channels.
    squeeze: scale the channels of the result. identity: add the module's input to its output.
    recompute_concat: see `concat_conv2d`. make_conv: makes the 3x3 convolutions.
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        layer_channels: int,
        concat_channels: int,
        num_layers: int,
        norm: NormFactory,
        identity: bool,
        recompute_concat: bool,
        depthwise: bool = False,
        squeeze: bool = False,
        make_conv: ConvFactory = conv3x3,
    ) -> None:
        super().__init__()
        assert not identity or in_channels == concat_channels
        self.identity = identity
        self.recompute_concat = recompute_concat
        self.conv_reduction: ConvNormAct | None = None
        if depthwise and in_channels != layer_channels:
            reduction = f"{name}_reduction_0"
            self.conv_reduction = add_conv(
                ConvNormAct(), reduction, in_channels, layer_channels, norm, make=conv1x1
            )
        widths = [in_channels] + [layer_channels] * num_layers
        self.layers = nn.ModuleList()
        for number in range(num_layers):
            add, width = (add_separable_conv, layer_channels) if depthwise else (add_conv, widths[number])
            layer = f"{name}_{number}"
            self.layers.append(add(ConvNormAct(), layer, width, layer_channels, norm, make=make_conv))
        self.concat = add_conv(
            ConvNormAct(), f"{name}_concat", sum(widths), concat_channels, norm, make=conv1x1
        )
        self.ese = EffectiveSqueezeExcitation(concat_channels) if squeeze else None

    def forward(self, x: Tensor) -> Tensor:
        """x [N,C,H,W] -> [N,concat_channels,H,W]."""
        parts = [x]
        link = x if self.conv_reduction is None else self.conv_reduction(x)
        for layer in self.layers:
            link = layer(link)
            parts.append(link)
        conv, norm = self.concat.layers_of(0)
        assert isinstance(conv, Conv2d)
        out = concat_conv2d(parts, conv, norm, relu=True, recompute=self.recompute_concat)
        # the ReLU keeps its output for backward, so what follows is a new tensor while gradients are wanted
        in_place = not torch.is_grad_enabled()
        if self.ese is not None:
            factors = self.ese(out)
            out = out.mul_(factors) if in_place else out * factors
            in_place = True  # the product is nobody's to keep
        if self.identity:
            out = out.add_(x) if in_place else out + x
        return out
