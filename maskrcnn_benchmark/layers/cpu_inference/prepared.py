"""What a layer's weight becomes for inference, made once and renewed when the weight changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.cpu_inference.method import Method

Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Form:
    """What a weight is prepared for: how the layer runs, and in which dtype."""

    method: Method
    dtype: torch.dtype


@dataclass(frozen=True)
class Prepared:
    """A weight and bias in the dtype and layout that `form` takes.

    `sources` are the tensors it was made from and `stamp` their state then. The sources are held so that
    their memory cannot be reused, which would make two states look the same.
    """

    weight: Tensor
    bias: Tensor | None
    form: Form
    sources: tuple[Tensor, ...]
    stamp: Stamp


class PreparesWeight(nn.Module):
    """A layer that may run its own way at inference, with room for what it has `Prepared` for that.

    `int16`: whether it multiplies 16-bit integers in place of float32 there, on a CPU that is fast in those.
    What is prepared is no part of state dicts, copies or pickles.

    What was prepared is renewed after any change that PyTorch counts (optimizer steps, load_state_dict,
    `.to`, copy_) and dropped by `train()` and `eval()`. Writing through `weight.data` is not counted: call
    `eval()` after it.
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
    stamp = tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in sources)
    old = layer.prepared
    if old is not None and (old.stamp, old.form) == (stamp, form):
        return old
    made = Prepared(*make(), form, tuple(part.detach() for part in sources), stamp)
    layer.prepared = made
    return made


def autocast_dtype(tensor: Tensor) -> torch.dtype | None:
    """The dtype that autocast computes in on the tensor's device; None where it is off (always on meta)."""
    device = tensor.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)
