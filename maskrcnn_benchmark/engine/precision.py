"""What DTYPE means at inference: autocast, or products of 16-bit integers on a CPU that is fast in those.

What is compiled (MODEL.COMPILE) knows no such integers: it computes in float32 there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS, int16_products
from maskrcnn_benchmark.utils.device import compute_dtype, cpu_computes

logger = logging.getLogger("maskrcnn_benchmark.precision")


def inference_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type that `computing_in` is given for DTYPE `name` (float32, bfloat16, float16).

    That of training (`utils.device.compute_dtype`), but half precision stays where the CPU multiplies 16-bit
    integers instead.
    """
    dtype: torch.dtype = getattr(torch, name)
    if not _multiplies_int16(device, dtype):
        return compute_dtype(name, device)
    logger.info("DTYPE %s: inference multiplies 16-bit integers, which this CPU is fast in", name)
    return dtype


@contextmanager
def computing_in(dtype: torch.dtype, device: torch.device | str) -> Iterator[None]:
    """Inference in `dtype`, whatever is asked for around it."""
    where = torch.device(device)
    int16 = _multiplies_int16(where, dtype)
    is_half = dtype != torch.float32 and not int16
    with int16_products(int16), torch.autocast(where.type, dtype=dtype, enabled=is_half):
        yield


def describe_dtype(dtype: torch.dtype, device: torch.device) -> str:
    """What `computing_in` computes in, for a report."""
    return "16-bit integers" if _multiplies_int16(device, dtype) else str(dtype).removeprefix("torch.")


def _multiplies_int16(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether 16-bit integers stand in for a half-precision type that the CPU has no instructions for."""
    is_half = dtype in (torch.bfloat16, torch.float16)
    return is_half and device.type == "cpu" and HAS_INT16_PRODUCTS and not cpu_computes(dtype)
