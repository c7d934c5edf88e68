"""VGG bodies (Simonyan and Zisserman 2015) with torchvision's layers, without classifier.

Names of parameters are torchvision's, features.N..., so a classifier's file fits by name.
"""

from __future__ import annotations

from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.norm import NormFactory
from maskrcnn_benchmark.modeling.backbone.body import Body, make_norm_factory
from maskrcnn_benchmark.modeling.registry import BODIES

VGG_LAYERS = {"VGG-11": cfgs["A"], "VGG-13": cfgs["B"], "VGG-16": cfgs["D"], "VGG-19": cfgs["E"]}


class VGG(Body):
    """Gives conv3, conv4 and conv5, each just before its pooling, and the last pooling, finest first.

    Their strides are 4, 8, 16 and 32: the C2 to C5 of a pyramid. Alone stands conv5, at stride 16, as in the
    first Faster R-CNN (Ren et al. 2015, section 3.1).
    """

    single_map = 2

    def __init__(self, layers: list[int | str], norm: NormFactory | None) -> None:
        """layers: torchvision's list of widths and poolings. norm: after each convolution, or None."""
        super().__init__()
        self.strides = (4, 8, 16, 32)
        self.out_channels = (256, 512, 512, 512)
        self.features = make_layers(layers, batch_norm=norm is not None)
        for index, layer in enumerate(self.features):
            if isinstance(layer, nn.Conv2d):
                assert layer.bias is not None
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)
            elif norm is not None and isinstance(layer, nn.BatchNorm2d):
                self.features[index] = norm(layer.num_features)
        poolings = [i for i, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        self.stage_starts = tuple(poolings[1:])

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """conv1 and conv2; the second pooling and conv3; ...; the last pooling: for FREEZE_CONV_BODY_AT."""
        starts = (0, *self.stage_starts)
        ends = (*self.stage_starts, len(self.features))
        return tuple(self.features[start:end] for start, end in zip(starts, ends, strict=True))


@BODIES.register(*VGG_LAYERS)
def build_vgg(cfg: ConfigNode, name: str) -> VGG:
    """The VGG body of that name, as published: without norms.

    Raises ValueError where MODEL.BACKBONE.NORM asks for one.
    """
    if cfg.MODEL.BACKBONE.NORM:
        raise ValueError(
            f"MODEL.BACKBONE.NORM = {cfg.MODEL.BACKBONE.NORM!r}: {name} has no norms; leave the key out, or "
            f"take {name}-BN"
        )
    return VGG(VGG_LAYERS[name], norm=None)


@BODIES.register(*(f"{name}-BN" for name in VGG_LAYERS))
def build_vgg_bn(cfg: ConfigNode, name: str) -> VGG:
    """The VGG body of that name with the norm of MODEL.BACKBONE.NORM after each convolution."""
    return VGG(VGG_LAYERS[name.removesuffix("-BN")], make_norm_factory(cfg, use_group_norm=False))
