"""What the converters share: entries under other names, and the names that VoVNet's layers have here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from maskrcnn_benchmark.weights.converted import PixelStatistics

COUNTER = "num_batches_tracked"
BATCH_NORM_EPS = 1e-5
IMAGENET_PIXELS = PixelStatistics(
    order="rgb", mean=(0.485 * 255, 0.456 * 255, 0.406 * 255), std=(0.229 * 255, 0.224 * 255, 0.225 * 255)
)


def rename(
    state: Mapping[str, Tensor], new_name: Callable[[str], str | None]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The entries under the names that `new_name` gives, and the names of those for which it gives None.

    Raises:
        ValueError: two entries get one name.
    """
    renamed: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    dropped = []
    for name, tensor in state.items():
        new = new_name(name)
        if new is None:
            dropped.append(name)
            continue
        if new in renamed:
            raise ValueError(f"weights file: its entries {origin[new]!r} and {name!r} both stand for {new!r}")
        renamed[new], origin[new] = tensor, name
    return renamed, tuple(dropped)


def stem_layer(number: int) -> str:
    """The stem's convolution `number`, from 1; "/conv" or "/norm" follows."""
    return f"backbone.body.stem.stem_{number}"


def osa_module(stage: int, module: int) -> str:
    """Module `module`, from 1, of stage 2 to 5."""
    return f"backbone.body.stage{stage}.OSA{stage}_{module}"


def osa_layer(stage: int, module: int, layer: int) -> str:
    """Layer `layer`, from 0, of a module; "/conv" or "/norm" follows, as with the next two."""
    return f"{osa_module(stage, module)}.layers.{layer}.OSA{stage}_{module}_{layer}"


def osa_concat(stage: int, module: int) -> str:
    """The 1x1 convolution over a module's concatenation."""
    return f"{osa_module(stage, module)}.concat.OSA{stage}_{module}_concat"


def osa_reduction(stage: int, module: int) -> str:
    """The 1x1 convolution before a depthwise chain."""
    return f"{osa_module(stage, module)}.conv_reduction.OSA{stage}_{module}_reduction_0"
