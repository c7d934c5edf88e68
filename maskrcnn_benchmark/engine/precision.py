"""What DTYPE means at inference: autocast, or products of 16-bit integers on a CPU that is fast in those."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager

import torch

from maskrcnn_benchmark.layers.int16 import HAS_INT16_PRODUCTS, int16_products
from maskrcnn_benchmark.utils.device import compute_dtype, cpu_computes

logger = logging.getLogger("maskrcnn_benchmark.precision")


def inference_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type that `autocast` is given for DTYPE `name`.

    That of training (`utils.device.compute_dtype`), but bfloat16 stays where the CPU multiplies 16-bit
    integers instead.
    """
    if name == "bfloat16" and _multiplies_int16(device):
        logger.info("DTYPE bfloat16: this CPU multiplies 16-bit integers instead, which are more exact")
        return torch.bfloat16
    return compute_dtype(name, device)


def autocast(device: torch.device | str, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Inference in `dtype`; float32 leaves everything as it is."""
    where = torch.device(device)
    if dtype == torch.bfloat16 and _multiplies_int16(where):
        return int16_products()
    return torch.autocast(where.type, dtype=dtype, enabled=dtype != torch.float32)


def describe_dtype(device: torch.device, dtype: torch.dtype) -> str:
    """What `autocast` computes in, for a report."""
    if dtype == torch.bfloat16 and _multiplies_int16(device):
        return "16-bit integers (training: float32)"
    return str(dtype).removeprefix("torch.")


def _multiplies_int16(device: torch.device) -> bool:
    """Whether 16-bit integers are the fastest products of reduced precision that the device has."""
    return device.type == "cpu" and HAS_INT16_PRODUCTS and not cpu_computes(torch.bfloat16)
