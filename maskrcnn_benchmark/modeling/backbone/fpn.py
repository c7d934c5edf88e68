"""Feature pyramid (Lin et al. 2017, "Feature Pyramid Networks for Object Detection")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers.conv_block import ConvNormAct
from maskrcnn_benchmark.layers.conv_norm import Conv2d, fused_conv2d
from maskrcnn_benchmark.layers.norm import NormFactory
from maskrcnn_benchmark.modeling.backbone.body import Neck


def _conv_block(
    in_channels: int, out_channels: int, kernel: int, norm: NormFactory | None, relu: bool
) -> nn.Module:
    """A convolution alone, or a ConvNormAct where a norm or a ReLU follows; with a norm it has no bias."""
    conv = Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=norm is None)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    if norm is None and not relu:
        return conv
    return ConvNormAct().add(conv, None if norm is None else norm(out_channels), relu)


class LastLevelMaxPool(nn.Module):
    """One coarser level: every second pixel of the coarsest (a max pooling of window 1 and stride 2)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)


class FPN(Neck):
    """A top-down pyramid over the body's maps, all levels with `out_channels` channels.

    in_channels: of the body's maps, finest first. norm, relu: after each convolution, or None and False.
    top_block: makes one more level from the coarsest.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        norm: NormFactory | None = None,
        relu: bool = False,
        top_block: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.num_inputs = len(in_channels)
        self.out_channels = out_channels
        for level, channels in enumerate(in_channels, start=1):
            self.add_module(f"fpn_inner{level}", _conv_block(channels, out_channels, 1, norm, relu))
            self.add_module(f"fpn_layer{level}", _conv_block(out_channels, out_channels, 3, norm, relu))
        self.top_blocks = top_block

    def strides(self, body_strides: Sequence[int]) -> tuple[int, ...]:
        """The strides of the levels, from those of the body's maps."""
        return (*body_strides, *([] if self.top_blocks is None else [2 * body_strides[-1]]))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The body's maps -> maps [N,out_channels,Hi,Wi]; both finest first, the top block's last."""
        assert len(features) == self.num_inputs
        outputs: list[Tensor] = []
        top: Tensor | None = None
        for level in range(self.num_inputs, 0, -1):
            top = _merge(self.get_submodule(f"fpn_inner{level}"), features[level - 1], top)
            outputs.insert(0, _run(self.get_submodule(f"fpn_layer{level}"), top))
        if self.top_blocks is not None:
            outputs.append(self.top_blocks(outputs[-1]))
        return tuple(outputs)


def _run(block: nn.Module, x: Tensor) -> Tensor:
    return fused_conv2d(x, block) if isinstance(block, Conv2d) else block(x)


def _merge(lateral: nn.Module, feature: Tensor, top: Tensor | None) -> Tensor:
    """lateral(feature) plus the level above, brought to its size by nearest neighbour."""
    if top is None:
        return _run(lateral, feature)
    top = F.interpolate(top, size=feature.shape[-2:], mode="nearest")
    if isinstance(lateral, Conv2d):
        return fused_conv2d(feature, lateral, residual=top)
    return lateral(feature) + top
