"""Products of 16-bit integers in place of float32, for inference on CPUs whose reduced precision is that.

Server processors before bfloat16 instructions (Cascade Lake, Ice Lake: AVX-512 VNNI) multiply 16-bit integers
twice as fast as float32. Convolutions and fully connected layers whose attribute `int16` is set round float32
inputs and weights to such integers, with one scale for 256 channels of a pixel or of an output channel (block
floating point; csrc/cpu/int16_kernels.cpp). That keeps 13 bits of the largest value and sums exactly, where
bfloat16 keeps 8 bits of each: the results are closer to float32's than bfloat16's are.
"""

from __future__ import annotations

import torch

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES

HAS_INT16_PRODUCTS: bool = bool(KERNEL_DEVICES and torch.ops.maskrcnn_benchmark.int16_panel_size(16))
