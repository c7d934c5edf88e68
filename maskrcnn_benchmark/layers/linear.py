"""A fully connected layer that multiplies 16-bit integers where `int16_products` asks for it."""

from __future__ import annotations

from torch import Tensor, nn

from maskrcnn_benchmark.layers.direct_conv import CHANNEL_BLOCK, direct_conv2d, direct_weight
from maskrcnn_benchmark.layers.int16 import multiplies_int16
from maskrcnn_benchmark.layers.prepared import Form, PreparesWeight, autocast_dtype, prepare, runs_prepared


class Linear(PreparesWeight, nn.Linear):
    """nn.Linear: x [M, in_features] -> [M, out_features]."""

    def forward(self, x: Tensor) -> Tensor:
        """As nn.Linear's."""
        return self._forward_int16(x) if self._multiplies_int16(x) else super().forward(x)

    def _multiplies_int16(self, x: Tensor) -> bool:
        dtype = autocast_dtype(x) or x.dtype
        fits = self.in_features % CHANNEL_BLOCK == 0 and self.out_features % CHANNEL_BLOCK == 0
        return fits and x.dim() == 2 and multiplies_int16(x.device, dtype) and runs_prepared(x, self)

    def _forward_int16(self, x: Tensor) -> Tensor:
        def make() -> tuple[Tensor, Tensor | None]:
            weight = direct_weight(self.weight.detach()[:, :, None, None], int16=True)
            return weight, None if self.bias is None else self.bias.detach()

        sources = (self.weight,) if self.bias is None else (self.weight, self.bias)
        made = prepare(self, sources, Form("direct", x.dtype, int16=True), make)
        pixels = x[:, :, None, None]
        return direct_conv2d([pixels], made.weight, made.bias, self.out_features).flatten(1)
