"""VoVNet bodies (Lee et al. 2019, "An Energy and GPU-Computation Efficient Backbone Network").

Module names, slashes included, are those of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.conv_block import ConvFactory, ConvNormAct
from maskrcnn_benchmark.layers.norm import NormFactory
from maskrcnn_benchmark.modeling.backbone.body import (
    ORDINARY,
    Body,
    StageConvs,
    build_stage_convs,
    make_norm_factory,
)
from maskrcnn_benchmark.modeling.backbone.osa import OSAModule, add_conv, add_separable_conv, conv3x3
from maskrcnn_benchmark.modeling.registry import BODIES

NUM_STAGES = 4
ANY_WIDTH = 256  # the default of MODEL.VOVNET.OUT_CHANNELS: says nothing about the body


@dataclass(frozen=True)
class VoVNetSpec:
    """Widths and depths of the stages 2..5 (table 1 of the paper), and what the second version adds."""

    layer_channels: tuple[int, ...]  # of each 3x3 convolution
    concat_channels: tuple[int, ...]  # of each module's output
    modules: tuple[int, ...]  # OSA modules a stage
    layers_per_module: int = 5
    stem_channels: int = 128  # of the stem's output
    depthwise: bool = False  # separable 3x3 convolutions, but for the first of the stem
    squeeze: Literal["never", "last", "every"] = "never"  # which modules of a stage scale their channels
    identity: bool = True  # modules add their input, but for the first of each stage


WIDE = ((128, 160, 192, 224), (256, 512, 768, 1024))
VOVNET_SPECS = {
    "V-27-slim": VoVNetSpec((64, 80, 96, 112), (128, 256, 384, 512), (1, 1, 1, 1)),
    "V-39": VoVNetSpec(*WIDE, modules=(1, 1, 2, 2)),
    "V-57": VoVNetSpec(*WIDE, modules=(1, 1, 4, 3)),
    "V-69": VoVNetSpec(*WIDE, modules=(1, 1, 6, 3)),
    "V-75": VoVNetSpec(*WIDE, modules=(1, 2, 6, 3)),
    "V-93": VoVNetSpec(*WIDE, modules=(1, 3, 8, 3)),
}


class Pooling(nn.Module):
    """The 3x3 max pooling of stride 2 that opens the stages 3..5; an odd size rounds up."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)


class VoVNet(Body):
    """Stem and four OSA stages; gives the stages' outputs, strides 4, 8, 16 and 32, finest first."""

    has_stage_convs = True

    def __init__(
        self,
        spec: VoVNetSpec,
        norm: NormFactory,
        recompute_concat: bool = True,
        stage_convs: StageConvs = ORDINARY,
    ) -> None:
        """stage_convs: what makes the 3x3 convolutions of each stage. recompute_concat: see `OSAModule`."""
        super().__init__()
        self.out_channels = spec.concat_channels
        self.strides = (4, 8, 16, 32)
        self.stem = ConvNormAct()
        add_conv(self.stem, "stem_1", 3, 64, norm, stride=2)
        add = add_separable_conv if spec.depthwise else add_conv
        add(self.stem, "stem_2", 64, 64, norm)
        add(self.stem, "stem_3", 64, spec.stem_channels, norm, stride=2)
        in_channels = spec.stem_channels
        for index in range(NUM_STAGES):
            make_conv = stage_convs[index] or conv3x3
            stage = _stage(index, in_channels, spec, norm, recompute_concat, make_conv)
            self.add_module(f"stage{index + 2}", stage)
            in_channels = spec.concat_channels[index]

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The stem and the stages in order, as FREEZE_CONV_BODY_AT counts them."""
        return (self.stem, *(self.get_submodule(f"stage{index + 2}") for index in range(NUM_STAGES)))


def _stage(
    index: int,
    in_channels: int,
    spec: VoVNetSpec,
    norm: NormFactory,
    recompute_concat: bool,
    make_conv: ConvFactory,
) -> nn.Sequential:
    """Stage `index` + 2: a pooling except in the first, OSA modules, with identity from the second on."""
    stage = nn.Sequential()
    if index > 0:
        stage.add_module("Pooling", Pooling())
    last = spec.modules[index] - 1
    for number in range(spec.modules[index]):
        name = f"OSA{index + 2}_{number + 1}"
        module = OSAModule(
            name,
            in_channels if number == 0 else spec.concat_channels[index],
            spec.layer_channels[index],
            spec.concat_channels[index],
            spec.layers_per_module,
            norm,
            identity=spec.identity and number > 0,
            recompute_concat=recompute_concat,
            depthwise=spec.depthwise,
            squeeze=spec.squeeze == "every" or (spec.squeeze == "last" and number == last),
            make_conv=make_conv,
        )
        stage.add_module(name, module)
    return stage


@BODIES.register(*VOVNET_SPECS)
def build_vovnet(cfg: ConfigNode, name: str) -> VoVNet:
    """The VoVNet body of that name.

    Raises ValueError where MODEL.VOVNET.OUT_CHANNELS is neither its default nor that of the first stage.
    """
    return make_vovnet(cfg, name, VOVNET_SPECS[name])


def make_vovnet(cfg: ConfigNode, name: str, spec: VoVNetSpec) -> VoVNet:
    """The body that `spec` describes, as the keys of MODEL.VOVNET vary it."""
    vovnet, stage2_channels = cfg.MODEL.VOVNET, spec.concat_channels[0]
    if vovnet.OUT_CHANNELS not in (stage2_channels, ANY_WIDTH):
        raise ValueError(
            f"MODEL.VOVNET.OUT_CHANNELS = {vovnet.OUT_CHANNELS}: the first stage of {name} gives "
            f"{stage2_channels} channels; set it to that, or leave it out"
        )
    if not vovnet.IDENTITY:
        spec = replace(spec, identity=False)
    norm = make_norm_factory(cfg, vovnet.USE_GN)
    return VoVNet(spec, norm, vovnet.RECOMPUTE_CONCAT, build_stage_convs(cfg))
