"""Convolution, norm and ReLU: the building block of bodies, pyramids and heads."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor, nn

from maskrcnn_benchmark.layers.conv_norm import fused_conv2d


class ConvFactory(Protocol):
    """Makes one kind of 3x3 convolution, for bodies that take it as an argument."""

    def __call__(
        self, in_channels: int, out_channels: int, stride: int, groups: int, dilation: int
    ) -> nn.Module:
        """A convolution [N,in_channels,H,W] -> [N,out_channels,H/stride,W/stride] with initial values.

        It has no bias: a norm follows.
        """


class Link(NamedTuple):
    """Names of a convolution and of the norm after it, "" for none, and whether a ReLU ends them."""

    conv: str
    norm: str
    relu: bool


class ConvNormAct(nn.Module):
    """Convolutions in a row, each with the norm and the ReLU that follow it; each such link runs as one.

    The layers are children of this module under names that the caller gives, since published checkpoints name
    them in many ways. Convolution and norm may be of any class; see `fused_conv2d`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.links: list[Link] = []

    def add(
        self,
        conv: nn.Module,
        norm: nn.Module | None = None,
        relu: bool = True,
        names: tuple[str, str] = ("0", "1"),
    ) -> ConvNormAct:
        """Appends a link whose layers become the children `names`; without a norm the second is not used."""
        self.add_module(names[0], conv)
        if norm is not None:
            self.add_module(names[1], norm)
        self.links.append(Link(names[0], "" if norm is None else names[1], relu))
        return self

    def layers_of(self, index: int) -> tuple[nn.Module, nn.Module | None]:
        """Convolution and norm of a link."""
        conv, norm, _ = self.links[index]
        return getattr(self, conv), getattr(self, norm) if norm else None

    def run(self, index: int, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """One link on x [N,C,H,W]; `residual` is added before its ReLU, and consumed as in `fused_conv2d`."""
        conv, norm = self.layers_of(index)
        return fused_conv2d(x, conv, norm, self.links[index].relu, residual)

    def forward(self, x: Tensor) -> Tensor:
        """All links, one after the other: x [N,C,H,W] -> [N,D,H',W']."""
        for index in range(len(self.links)):
            x = self.run(index, x)
        return x
