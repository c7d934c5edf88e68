"""Products of 16-bit integers in place of float32, for inference on CPUs whose reduced precision is that.

Server processors before bfloat16 instructions (Cascade Lake, Ice Lake: AVX-512 VNNI) multiply 16-bit integers
twice as fast as float32. Where `int16_products` asks for it, convolutions and fully connected layers of
float32 tensors round their inputs and weights to such integers, with one scale for 256 channels of a pixel
or of an output channel (block floating point; csrc/cpu/int16_kernels.cpp). That keeps 13 bits of the largest
value and sums exactly, where bfloat16 keeps 8 bits of each: the results are closer to float32's than
bfloat16's are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES

HAS_INT16_PRODUCTS: bool = bool(KERNEL_DEVICES and torch.ops.maskrcnn_benchmark.int16_panel_size(16))

_asked: ContextVar[bool] = ContextVar("int16_products", default=False)


@contextmanager
def int16_products(enabled: bool = True) -> Iterator[None]:
    """Lets this thread's layers multiply 16-bit integers at inference, where the CPU does; or keeps them from
    it."""
    before = _asked.set(enabled)
    try:
        yield
    finally:
        _asked.reset(before)


def multiplies_int16(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a layer that computes in `dtype` is to multiply 16-bit integers now."""
    return HAS_INT16_PRODUCTS and device.type == "cpu" and dtype == torch.float32 and _asked.get()
