"""What numbers a model computes in: one value, resolved once from DTYPE, the device and the processor."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS
from maskrcnn_benchmark.layers.cpu_inference.prepared import PreparesWeight
from maskrcnn_benchmark.utils.device import cpu_computes

logger = logging.getLogger("maskrcnn_benchmark.precision")


@dataclass(frozen=True)
class Precision:
    """What numbers a model computes in; its text is for a report.

    Attributes:
        dtype: autocast's (bfloat16, float16); float32 is no autocast.
        int16: at inference, layers on the CPU multiply 16-bit integers instead of float32
            (layers/cpu_inference/int16.py). What is compiled (MODEL.COMPILE) stays in float32.
    """

    dtype: torch.dtype = torch.float32
    int16: bool = False

    def __str__(self) -> str:
        return "16-bit integers" if self.int16 else str(self.dtype).removeprefix("torch.")

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context of a forward pass on `device`, whatever autocast is around it."""
        return torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)


FLOAT32 = Precision()


def resolve_precision(name: str, device: torch.device, training: bool) -> Precision:
    """What DTYPE `name` (float32, bfloat16, float16) comes to on this device.

    A CPU without instructions for a half-precision dtype would emulate it, several times slower than float32.
    There, inference multiplies 16-bit integers where the CPU is fast in those. Else it is float32, with a
    warning; so is training, which needs gradients.
    """
    dtype: torch.dtype = getattr(torch, name)
    if device.type != "cpu" or dtype == torch.float32 or cpu_computes(dtype):
        return Precision(dtype)
    if HAS_INT16_PRODUCTS and not training:
        logger.info("DTYPE %s: inference multiplies 16-bit integers, which this CPU is fast in", name)
        return Precision(int16=True)
    logger.warning(
        "DTYPE %s: this CPU has no instructions for it; computing in float32, which is faster", name
    )
    return FLOAT32


def set_precision(model: nn.Module, precision: Precision) -> None:
    """Tells the layers whether to multiply 16-bit integers. Autocast is the caller's, around each call."""
    for layer in _layers_with_a_choice(model):
        layer.int16 = precision.int16


@contextmanager
def running_in(model: nn.Module, precision: Precision, device: torch.device) -> Iterator[None]:
    """Runs the model in `precision`, whatever holds around it; afterwards its layers are as they were.

    The layers belong to all threads. Threads that share a model call `set_precision` once and enter
    `Precision.autocast` each, instead of this.
    """
    before = [(layer, layer.int16) for layer in _layers_with_a_choice(model)]
    set_precision(model, precision)
    try:
        with precision.autocast(device):
            yield
    finally:
        for layer, int16 in before:
            layer.int16 = int16


def _layers_with_a_choice(model: nn.Module) -> Iterator[PreparesWeight]:
    return (layer for layer in model.modules() if isinstance(layer, PreparesWeight))
