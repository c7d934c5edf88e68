"""What every converter gives, and what they share: renaming, and the names that VoVNet's layers have here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX
from maskrcnn_benchmark.weights.fold import PixelStatistics

COUNTER = "num_batches_tracked"
BATCH_NORM_EPS = 1e-5
IMAGENET_PIXELS = PixelStatistics(
    order="rgb", mean=(0.485 * 255, 0.456 * 255, 0.406 * 255), std=(0.229 * 255, 0.224 * 255, 0.225 * 255)
)


@dataclass(frozen=True)
class Converted:
    """Weights of another project under this project's names, values as they were.

    state: a detector's entries in full ("rpn.head.conv.weight"), a body's with the prefix "backbone.body.".
    source: what the file is, in words for a report.
    body: its body's name here ("R-50"), where the weights tell it.
    batch_norm_eps: added to the variances by the source's batch norms; 0.0 where they are frozen already.
    pixels: what the source takes for an image; None means blue, green, red in 0..255 minus the config's
        PIXEL_MEAN.
    dropped: names of the source that were left out on purpose.
    requires: (config key, value) pairs that the weights ask for and that do not show in names or shapes.
    notes: sentences for whoever uses the weights, such as where the source computes differently.
    """

    state: dict[str, Tensor]
    source: str
    body: str | None
    is_detector: bool
    batch_norm_eps: float
    pixels: PixelStatistics | None
    dropped: tuple[str, ...]
    class_names: tuple[str, ...] | None = None
    requires: tuple[tuple[str, object], ...] = ()
    notes: tuple[str, ...] = ()


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
    return f"{BODY_PREFIX}stem.stem_{number}"


def osa_module(stage: int, module: int) -> str:
    """Module `module`, from 1, of stage 2 to 5."""
    return f"{BODY_PREFIX}stage{stage}.OSA{stage}_{module}"


def osa_layer(stage: int, module: int, layer: int) -> str:
    """Layer `layer`, from 0, of a module; "/conv" or "/norm" follows, as with the next two."""
    return f"{osa_module(stage, module)}.layers.{layer}.OSA{stage}_{module}_{layer}"


def osa_concat(stage: int, module: int) -> str:
    """The 1x1 convolution over a module's concatenation."""
    return f"{osa_module(stage, module)}.concat.OSA{stage}_{module}_concat"


def osa_reduction(stage: int, module: int) -> str:
    """The 1x1 convolution before a depthwise chain."""
    return f"{osa_module(stage, module)}.conv_reduction.OSA{stage}_{module}_reduction_0"
