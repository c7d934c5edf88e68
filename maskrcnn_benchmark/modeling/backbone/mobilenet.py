"""MobileNet bodies: torchvision's V2 (Sandler et al. 2018) and V3-large (Howard et al. 2019), no classifier.

Names of parameters are torchvision's, features.N..., so a classifier's file fits by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torchvision.models import MobileNetV2, MobileNetV3, mobilenet_v2, mobilenet_v3_large

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.norm import NormFactory
from maskrcnn_benchmark.modeling.backbone.body import Body, make_norm_factory
from maskrcnn_benchmark.modeling.registry import BODIES


@dataclass(frozen=True)
class MobileNetSpec:
    """torchvision's function, and where its list of blocks is cut."""

    make: Callable[..., MobileNetV2 | MobileNetV3]
    stage_starts: tuple[int, int, int, int]  # the blocks that bring the strides 4, 8, 16 and 32
    out_channels: tuple[int, int, int, int]


MOBILENET_SPECS = {
    "MobileNet-V2": MobileNetSpec(mobilenet_v2, (2, 4, 7, 14), (24, 32, 96, 1280)),
    "MobileNet-V3-large": MobileNetSpec(mobilenet_v3_large, (2, 4, 7, 13), (24, 40, 112, 960)),
}


class MobileNet(Body):
    """Gives the last map of each stride 4, 8, 16 and 32, finest first.

    The coarsest is that of the closing 1x1 convolution, which torchvision's classifier pools.
    """

    def __init__(self, spec: MobileNetSpec, norm: NormFactory) -> None:
        super().__init__()
        self.strides = (4, 8, 16, 32)
        self.out_channels = spec.out_channels
        self.features: nn.Sequential = spec.make(weights=None, norm_layer=norm).features
        self.stage_starts = spec.stage_starts

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The stem (stride 2) and the stages of the strides 4 to 32, as FREEZE_CONV_BODY_AT counts them."""
        starts = (0, *self.stage_starts)
        ends = (*self.stage_starts, len(self.features))
        return tuple(self.features[start:end] for start, end in zip(starts, ends, strict=True))


@BODIES.register(*MOBILENET_SPECS)
def build_mobilenet(cfg: ConfigNode, name: str) -> MobileNet:
    """The MobileNet body of that name."""
    return MobileNet(MOBILENET_SPECS[name], make_norm_factory(cfg, use_group_norm=False))
