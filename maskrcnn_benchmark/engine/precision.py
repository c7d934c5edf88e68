"""What DTYPE means at inference: autocast, or products of 16-bit integers on a CPU that is fast in those."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager

import torch

from maskrcnn_benchmark.layers.int16 import HAS_INT16_PRODUCTS, int16_products
from maskrcnn_benchmark.utils.device import compute_dtype, cpu_computes

logger = logging.getLogger("maskrcnn_benchmark.precision")


def inference_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type that `autocast` is given for DTYPE `name` (float32, bfloat16, float16).

    That of training (`utils.device.compute_dtype`), but half precision stays where the CPU multiplies 16-bit
    integers instead.
    """
    dtype: torch.dtype = getattr(torch, name)
    if not _multiplies_int16(device, dtype):
        return compute_dtype(name, device)
    logger.info("DTYPE %s: inference multiplies 16-bit integers, which this CPU is fast in", name)
    return dtype


def autocast(device: torch.device | str, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Inference in `dtype`; float32 leaves everything as it is."""
    where = torch.device(device)
    if _multiplies_int16(where, dtype):
        return int16_products()
    return torch.autocast(where.type, dtype=dtype, enabled=dtype != torch.float32)


def describe_dtype(device: torch.device, dtype: torch.dtype) -> str:
    """What `autocast` computes in, for a report."""
    if _multiplies_int16(device, dtype):
        return "16-bit integers (training: float32)"
    return str(dtype).removeprefix("torch.")


def _multiplies_int16(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether 16-bit integers stand in for a half-precision type that the CPU has no instructions for."""
    is_half = dtype in (torch.bfloat16, torch.float16)
    return is_half and device.type == "cpu" and HAS_INT16_PRODUCTS and not cpu_computes(dtype)
