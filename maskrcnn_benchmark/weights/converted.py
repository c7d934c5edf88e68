"""What a converter hands on: weights under this project's names, and what has to be known to use them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

ORDERS = ("bgr", "rgb")


@dataclass(frozen=True)
class PixelStatistics:
    """What a network takes for an image: (pixel - mean) / std for each channel, in the network's order.

    order: "bgr" | "rgb". mean, std: one value a channel, in that order, for pixels of 0..255.

    Raises:
        ValueError: an unknown order, not three values, or a std that is not positive.
    """

    order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order of the channels {self.order!r}: allowed are {', '.join(ORDERS)}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3:
                raise ValueError(f"{name} of the pixels {values}: give three values, for {self.order}")
        if min(self.std) <= 0:
            raise ValueError(f"std of the pixels {self.std}: give values above 0")


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
