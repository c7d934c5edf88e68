"""What the weights of our CPU convolutions have in common: csrc/cpu/conv_kernels.h packs them into panels."""

from __future__ import annotations

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES

# Output channels in a panel of a prepared weight; 0 where the kernels do not run.
COLUMNS: int = torch.ops.maskrcnn_benchmark.winograd_columns() if KERNEL_DEVICES else 0
CHANNEL_BLOCK = 16  # kChannelBlock of csrc/cpu/conv_kernels.h


def new_packed_weight(weight: Tensor, positions: int, int16: bool) -> Tensor:
    """Room for a packed weight, for a fake tensor."""
    outputs, channels, height, width = weight.shape
    length = channels if positions > 1 else channels * height * width
    panel = torch.ops.maskrcnn_benchmark.int16_panel_size(length) if int16 else length * COLUMNS
    dtype = torch.int32 if int16 else torch.float32
    return weight.new_empty((-(-outputs // COLUMNS), positions, panel), dtype=dtype)
