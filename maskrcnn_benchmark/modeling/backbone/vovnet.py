"""VoVNet bodies (Lee et al. 2019, "An Energy and GPU-Computation Efficient Backbone Network").

Module names, slashes included, are those of the published checkpoints.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.concat_conv import concat_conv2d
from maskrcnn_benchmark.layers.conv_norm import Conv2d, fused_conv2d
from maskrcnn_benchmark.layers.norm import NormFactory
from maskrcnn_benchmark.modeling.backbone.body import Body, make_norm_factory
from maskrcnn_benchmark.modeling.registry import BODIES

NUM_STAGES = 4


@dataclass(frozen=True)
class VoVNetSpec:
    """Widths and depths of the stages 2..5 (table 1 of the paper)."""

    layer_channels: tuple[int, ...]  # of each 3x3 convolution
    concat_channels: tuple[int, ...]  # of each module's output
    modules: tuple[int, ...]  # OSA modules a stage
    layers_per_module: int = 5


_WIDE = ((128, 160, 192, 224), (256, 512, 768, 1024))
VOVNET_SPECS = {
    "V-27-slim": VoVNetSpec((64, 80, 96, 112), (128, 256, 384, 512), (1, 1, 1, 1)),
    "V-39": VoVNetSpec(*_WIDE, modules=(1, 1, 2, 2)),
    "V-57": VoVNetSpec(*_WIDE, modules=(1, 1, 4, 3)),
    "V-75": VoVNetSpec(*_WIDE, modules=(1, 2, 6, 3)),
    "V-93": VoVNetSpec(*_WIDE, modules=(1, 3, 8, 3)),
}


def _conv_norm(
    name: str, in_channels: int, out_channels: int, norm: NormFactory, kernel: int = 3, stride: int = 1
) -> list[tuple[str, nn.Module]]:
    """A convolution that keeps the size (times 1/stride), and its norm, under the published names."""
    conv = Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return [(f"{name}/conv", conv), (f"{name}/norm", norm(out_channels))]


class ConvNormReLU(nn.Sequential):
    """Convolutions and norms in turn (conv, norm, conv, norm, ...), a ReLU after each pair."""

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self)
        for conv, norm in zip(layers[0::2], layers[1::2], strict=True):
            assert isinstance(conv, Conv2d)
            x = fused_conv2d(x, conv, norm, relu=True)
        return x


class OSAModule(nn.Module):
    """One-shot aggregation: a chain of 3x3 convolutions; the input and every link are joined once, by a 1x1.

    identity: add the module's input to its output. recompute_concat: see `concat_conv2d`.
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
    ) -> None:
        super().__init__()
        assert not identity or in_channels == concat_channels
        self.identity = identity
        self.recompute_concat = recompute_concat
        widths = [in_channels] + [layer_channels] * num_layers
        self.layers = nn.ModuleList(
            ConvNormReLU(OrderedDict(_conv_norm(f"{name}_{i}", widths[i], widths[i + 1], norm)))
            for i in range(num_layers)
        )
        self.concat = nn.Sequential(
            OrderedDict(_conv_norm(f"{name}_concat", sum(widths), concat_channels, norm, kernel=1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """x [N,C,H,W] -> [N,concat_channels,H,W]."""
        parts = [x]
        for layer in self.layers:
            parts.append(layer(parts[-1]))
        conv, norm = self.concat
        assert isinstance(conv, Conv2d)
        out = concat_conv2d(parts, conv, norm, relu=True, recompute=self.recompute_concat)
        # the ReLU keeps its output for backward, so the sum is a new tensor while gradients are wanted
        if self.identity:
            out = out + x if torch.is_grad_enabled() else out.add_(x)
        return out


class Pooling(nn.Module):
    """The 3x3 max pooling of stride 2 that opens the stages 3..5; an odd size rounds up."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)


class VoVNet(Body):
    """Stem and four OSA stages; gives the stages' outputs, strides 4, 8, 16 and 32, finest first."""

    def __init__(self, spec: VoVNetSpec, norm: NormFactory, recompute_concat: bool = True) -> None:
        super().__init__()
        self.out_channels = spec.concat_channels
        self.strides = (4, 8, 16, 32)
        stem = _conv_norm("stem_1", 3, 64, norm, stride=2)
        stem += _conv_norm("stem_2", 64, 64, norm)
        stem += _conv_norm("stem_3", 64, 128, norm, stride=2)
        self.stem = ConvNormReLU(OrderedDict(stem))
        in_channels = 128
        for index in range(NUM_STAGES):
            self.add_module(f"stage{index + 2}", _stage(index, in_channels, spec, norm, recompute_concat))
            in_channels = spec.concat_channels[index]

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The stem and the stages in order, as FREEZE_CONV_BODY_AT counts them."""
        return (self.stem, *(self.get_submodule(f"stage{index + 2}") for index in range(NUM_STAGES)))


def _stage(
    index: int, in_channels: int, spec: VoVNetSpec, norm: NormFactory, recompute_concat: bool
) -> nn.Sequential:
    """Stage `index` + 2: a pooling except in the first, OSA modules, with identity from the second on."""
    stage = nn.Sequential()
    if index > 0:
        stage.add_module("Pooling", Pooling())
    for number in range(spec.modules[index]):
        name = f"OSA{index + 2}_{number + 1}"
        module = OSAModule(
            name,
            in_channels if number == 0 else spec.concat_channels[index],
            spec.layer_channels[index],
            spec.concat_channels[index],
            spec.layers_per_module,
            norm,
            identity=number > 0,
            recompute_concat=recompute_concat,
        )
        stage.add_module(name, module)
    return stage


@BODIES.register(*VOVNET_SPECS)
def build_vovnet(cfg: ConfigNode, name: str) -> VoVNet:
    """The VoVNet body of that name.

    Raises ValueError where MODEL.VOVNET.OUT_CHANNELS is not that of its first stage.
    """
    vovnet, spec = cfg.MODEL.VOVNET, VOVNET_SPECS[name]
    stage2_channels = spec.concat_channels[0]
    if stage2_channels != vovnet.OUT_CHANNELS:
        raise ValueError(
            f"MODEL.VOVNET.OUT_CHANNELS = {vovnet.OUT_CHANNELS}: the first stage of "
            f"{cfg.MODEL.BACKBONE.CONV_BODY} gives {stage2_channels} channels; set it to that"
        )
    return VoVNet(spec, make_norm_factory(cfg, vovnet.USE_GN), recompute_concat=vovnet.RECOMPUTE_CONCAT)
