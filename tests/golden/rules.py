"""The deterministic inputs of the reference data: numbers, weights, image, statistics.

Weights of millions of parameters and whole images need not be stored: both sides compute them from these
rules (see data/README.md, which states them in words).
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

PIXEL_MEAN = (102.9801, 115.9465, 122.7717)  # blue, green, red
CELL_ANCHORS = "anchor_generator.cell_anchors"  # entries that keep what the model builds

# factors that keep the activations of a randomly filled network sensible: the first text found in a key wins
GAINS = (
    ("body.stem.conv1.", 1 / 64),
    ("body.stem.stem_1/conv.", 1 / 64),
    (".conv3.", 0.25),
    (".downsample.", 0.5),
    ("_concat/conv.", 0.75),
    ("fpn_inner", 0.5),
    ("fpn_layer", 0.5),
    ("rpn.head.cls_logits.", 0.6),
    ("rpn.head.bbox_pred.", 0.1),
    ("predictor.cls_score.", 0.5),
    ("predictor.bbox_pred.", 0.5),
    ("predictor.mask_fcn_logits.", 0.5),
)


def uniform(key: str, count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) that depend on `key` alone; the arithmetic is modulo 2^32."""
    h = np.arange(count, dtype=np.uint32)
    h *= np.uint32(2654435761)
    h += np.uint32(zlib.crc32(key.encode("ascii")))
    h ^= h >> np.uint32(16)
    h *= np.uint32(2246822519)
    h ^= h >> np.uint32(13)
    h *= np.uint32(3266489917)
    h ^= h >> np.uint32(16)
    return (h >> np.uint32(8)) / 2.0**24


def weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """The float32 value of the state-dict entry `key`."""
    u = uniform(key, math.prod(shape))
    if key.endswith(("running_mean", ".bias")):
        values = 0.1 * (2 * u - 1)
    elif key.endswith("running_var"):
        values = 0.5 + u
    elif len(shape) == 1:
        values = 0.8 + 0.4 * u
    else:
        gain = next((factor for text, factor in GAINS if text in key), 1.0)
        values = gain * math.sqrt(6 / (u.size / shape[0])) * (2 * u - 1)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def fill_weights(model: nn.Module) -> None:
    """Sets every entry of the state dict, in place, but for the cell anchors."""
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if CELL_ANCHORS not in key:
                tensor.copy_(weight(key, tuple(tensor.shape)))


def image_pixels(height: int, width: int, which: int) -> Tensor:
    """A uint8 image [3, height, width] with its channels in blue, green, red order."""
    c = np.arange(3).reshape(3, 1, 1)
    y = np.arange(height).reshape(1, height, 1)
    x = np.arange(width).reshape(1, 1, width)
    blocks = 60 * ((x // 32 + y // 24 + which) % 3)
    pixels = (3 * x + 5 * y + 40 * c + (x * y) // (16 + 8 * c) + blocks) % 256
    return torch.from_numpy(pixels.astype(np.uint8))


def network_input(height: int, width: int, which: int) -> Tensor:
    """The image as the network sees it, float32 [3, height, width], the mean subtracted."""
    return image_pixels(height, width, which).float() - torch.tensor(PIXEL_MEAN).view(3, 1, 1)


def sample(values: Tensor) -> Tensor:
    """64 values at evenly spaced places of a tensor in C order; all of one with fewer."""
    flat = values.detach().contiguous().reshape(-1)
    count = min(flat.numel(), 64)
    return flat[torch.arange(count) * (flat.numel() // 64 if count == 64 else 1)]


def assert_matches_record(values: Tensor, record: dict[str, Any], name: str, tolerance: float = 1e-4) -> None:
    """Fails unless `values` have the recorded shape, statistics and samples.

    They may differ by `tolerance` of their largest absolute value.
    """
    assert list(values.shape) == record["shape"], name
    values = values.detach().float()
    limit = tolerance * record["absmax"]
    exact = values.double()
    found = {"mean": exact.mean(), "std": exact.std(correction=0), "absmax": exact.abs().max()}
    for statistic, value in found.items():
        wanted = record[statistic]
        assert abs(value.item() - wanted) <= limit, f"{name}: {statistic} {value.item()}, not {wanted}"
    distance = (sample(values) - torch.tensor(record["sample"])).abs().max().item()
    assert distance <= limit, f"{name}: a sample is off by {distance:.3g}, allowed {limit:.3g}"
