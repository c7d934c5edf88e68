"""ResNet and ResNeXt bodies (He et al. 2016, Xie et al. 2017), named as in the published checkpoints."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers.conv_norm import Conv2d, fused_conv2d
from maskrcnn_benchmark.layers.norm import NormFactory
from maskrcnn_benchmark.modeling.backbone.body import Body, make_norm_factory
from maskrcnn_benchmark.modeling.registry import BODIES

RESNET_BLOCKS = {"R-50": (3, 4, 6, 3), "R-101": (3, 4, 23, 3), "R-152": (3, 8, 36, 3)}


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> Conv2d:
    conv = Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return conv


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


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside an identity, or beside a 1x1 projection where the shape changes.

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
    ) -> None:
        super().__init__()
        self.downsample: nn.Sequential | None = None
        if in_channels != out_channels:
            self.downsample = nn.Sequential(_conv(in_channels, out_channels, 1, stride), norm(out_channels))
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = _conv(in_channels, bottleneck_channels, 1, stride_1x1)
        self.bn1 = norm(bottleneck_channels)
        self.conv2 = _conv(bottleneck_channels, bottleneck_channels, 3, stride_3x3, groups=num_groups)
        self.bn2 = norm(bottleneck_channels)
        self.conv3 = _conv(bottleneck_channels, out_channels, 1)
        self.bn3 = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [N,C,H,W] -> [N,out_channels,H/stride,W/stride]."""
        out = fused_conv2d(x, self.conv1, self.bn1, relu=True)
        out = fused_conv2d(out, self.conv2, self.bn2, relu=True)
        if self.downsample is not None:
            projection, norm = self.downsample
            assert isinstance(projection, Conv2d)
            x = fused_conv2d(x, projection, norm)
        return fused_conv2d(out, self.conv3, self.bn3, relu=True, residual=x)


class ResNet(Body):
    """Stem and four stages of bottlenecks; gives the stages' outputs, strides 4, 8, 16 and 32, finest first.

    blocks: bottlenecks a stage. num_groups, width_per_group: of the 3x3 convolutions of the first stage; the
    width doubles with every stage. res2_out_channels: of the first stage's output; doubles as well.
    """

    def __init__(
        self,
        blocks: tuple[int, ...],
        norm: NormFactory,
        stem_norm: NormFactory,
        stem_out_channels: int = 64,
        res2_out_channels: int = 256,
        num_groups: int = 1,
        width_per_group: int = 64,
        stride_in_1x1: bool = True,
    ) -> None:
        super().__init__()
        self.out_channels = tuple(res2_out_channels * 2**index for index in range(len(blocks)))
        self.strides = (4, 8, 16, 32)
        self.stem = Stem(stem_out_channels, stem_norm)
        in_channels = stem_out_channels
        for index, num_blocks in enumerate(blocks):
            width = num_groups * width_per_group * 2**index
            stage = nn.Sequential()
            for number in range(num_blocks):
                stride = 2 if index > 0 and number == 0 else 1
                stage.append(
                    Bottleneck(
                        in_channels, width, self.out_channels[index], num_groups, stride_in_1x1, stride, norm
                    )
                )
                in_channels = self.out_channels[index]
            self.add_module(f"layer{index + 1}", stage)

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The stem and the stages in order, as FREEZE_CONV_BODY_AT counts them."""
        return (self.stem, *(self.get_submodule(f"layer{i + 1}") for i in range(len(self.out_channels))))


@BODIES.register(*RESNET_BLOCKS)
def build_resnet(cfg: ConfigNode, name: str) -> ResNet:
    """The ResNet or ResNeXt body of that name."""
    resnets = cfg.MODEL.RESNETS
    if resnets.RES5_DILATION != 1:
        raise ValueError(f"MODEL.RESNETS.RES5_DILATION = {resnets.RES5_DILATION}: FPN bodies take 1 only")
    return ResNet(
        RESNET_BLOCKS[name],
        norm=make_norm_factory(cfg, _uses_group_norm("TRANS_FUNC", resnets.TRANS_FUNC, "Bottleneck")),
        stem_norm=make_norm_factory(cfg, _uses_group_norm("STEM_FUNC", resnets.STEM_FUNC, "Stem")),
        stem_out_channels=resnets.STEM_OUT_CHANNELS,
        res2_out_channels=resnets.RES2_OUT_CHANNELS,
        num_groups=resnets.NUM_GROUPS,
        width_per_group=resnets.WIDTH_PER_GROUP,
        stride_in_1x1=resnets.STRIDE_IN_1X1,
    )


def _uses_group_norm(key: str, value: str, part: str) -> bool:
    """Which norm the family's class name stands for."""
    known = {f"{part}WithFixedBatchNorm": False, f"{part}WithGN": True}
    if value not in known:
        raise ValueError(f"MODEL.RESNETS.{key} = {value!r}: known are {', '.join(known)}")
    return known[value]
