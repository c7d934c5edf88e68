"""What a layer's weight becomes for inference, made once and renewed when the weight changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.cpu_inference.method import Method

# Whole numbers of an element's size, as which values are compared bit by bit.
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Form:
    """What a weight is prepared for: how the layer runs, and in which dtype."""

    method: Method
    dtype: torch.dtype


@dataclass(frozen=True)
class Source:
    """A tensor that something was prepared from, as it was then.

    On the CPU its values are kept, so that any write to it is seen. Elsewhere, where reading them would wait
    for the device, its place in memory and PyTorch's count of its changes are; the tensor is held with them
    so that its memory cannot be reused.
    """

    values: np.ndarray | None
    tensor: Tensor | None
    counted: tuple[int, int]

    @classmethod
    def of(cls, tensor: Tensor) -> Source:
        if tensor.device.type == "cpu":
            return cls(_bits(tensor).copy(order="K"), None, (0, 0))
        return cls(None, tensor.detach(), _counted(tensor))

    def is_still(self, tensor: Tensor) -> bool:
        """Whether `tensor`, of the same dtype, holds what this one held."""
        if self.values is None or tensor.device.type != "cpu":
            return self.tensor is not None and self.counted == _counted(tensor)
        return np.array_equal(self.values, _bits(tensor))


@dataclass(frozen=True)
class Prepared:
    """A weight and bias in the dtype and layout that `form` takes, and what they were made from."""

    weight: Tensor
    bias: Tensor | None
    form: Form
    sources: tuple[Source, ...]
    dtypes: tuple[torch.dtype, ...]


class PreparesWeight(nn.Module):
    """A layer that may run its own way at inference, with room for what it has `Prepared` for that.

    `int16`: whether it multiplies 16-bit integers in place of float32 there, on a CPU that is fast in those.
    What is prepared is no part of state dicts, copies or pickles.

    On a CPU what was prepared is renewed after any change, whatever way it was made (through `.data`, a view,
    another library): every call compares the parameters with a copy of what they were, which takes as much
    memory as they do. On other devices it is renewed after any change that PyTorch counts (optimizer steps,
    load_state_dict, `.to`, copy_): after writing through `weight.data` there, call `eval()`. `train()` and
    `eval()` drop it.
    """

    int16: bool = False
    prepared: Prepared | None = None

    def train(self, mode: bool = True) -> PreparesWeight:
        self.prepared = None
        super().train(mode)
        return self

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "prepared": None}


def runs_prepared(x: Tensor, layer: PreparesWeight) -> bool:
    """Whether this call is plain inference: nothing to differentiate or compile, and something to compute."""
    if torch.is_grad_enabled() or layer.training or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return (
        type(x) is Tensor
        and type(layer.weight) is nn.Parameter
        and not layer.weight.is_inference()  # such tensors do not count their changes
        and x.numel() > 0
    )


def prepare(
    layer: PreparesWeight,
    sources: Sequence[Tensor],
    form: Form,
    make: Callable[[], tuple[Tensor, Tensor | None]],
) -> Prepared:
    """What the layer has prepared in this form, renewed by `make` where form or a source has changed."""
    old, dtypes = layer.prepared, tuple(tensor.dtype for tensor in sources)
    if old is not None and (old.form, old.dtypes) == (form, dtypes) and _are_still(old.sources, sources):
        return old
    made = Prepared(*make(), form, tuple(map(Source.of, sources)), dtypes)
    layer.prepared = made
    return made


def _are_still(before: Sequence[Source], now: Sequence[Tensor]) -> bool:
    return all(source.is_still(tensor) for source, tensor in zip(before, now, strict=True))


def _bits(tensor: Tensor) -> np.ndarray:
    """The tensor's own memory as whole numbers."""
    return tensor.detach().view(BITS[tensor.element_size()]).numpy()


def _counted(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor's values are, and how often PyTorch saw them change; inference tensors do not count."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def autocast_dtype(tensor: Tensor) -> torch.dtype | None:
    """The dtype that autocast computes in on the tensor's device; None where it is off (always on meta)."""
    device = tensor.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)
