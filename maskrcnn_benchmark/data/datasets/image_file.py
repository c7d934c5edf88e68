"""Images from files: decoding and the pixel size the annotations were made for."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.data.datasets.deep_pixels import bits_of_values, decode_deep, may_be_deep, to_8_bits
from maskrcnn_benchmark.data.datasets.validation import DatasetError


def read_image(path: str, size_wh: tuple[int, int] | None = None, pixel_bits: int = 0) -> Tensor:
    """Decodes an image: uint8 [3, H, W] in blue, green, red order, laid out pixel by pixel.

    The EXIF orientation is applied. Grey, palette, CMYK and transparent images come out as colour ones. Of
    deeper pixels than 8 bits `pixel_bits` are used; 0 finds out from the file, see `deep_pixels`.

    Raises DatasetError naming the file where it cannot be read, is truncated, or is not of ``size_wh``.
    """
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        link = f"; it is a link to {os.readlink(path)}" if os.path.islink(path) else ""
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file{link}") from error
    pixels = _decode(path, encoded, pixel_bits) if len(encoded) else None
    if pixels is None:
        raise DatasetError(
            f"{path}: not an image, or truncated ({len(encoded)} bytes); restore the file, or remove it and "
            "its annotations"
        )
    height, width = pixels.shape[:2]
    if size_wh is not None and (width, height) != size_wh:
        turned = " (turned by its EXIF orientation?)" if (height, width) == size_wh else ""
        raise DatasetError(
            f"{path}: the image is {width} x {height}, its annotations are for {size_wh[0]} x {size_wh[1]}"
            f"{turned}; correct width and height in the json, and the annotations with them"
        )
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _decode(path: str, encoded: NDArray[np.uint8], pixel_bits: int) -> NDArray[np.uint8] | None:
    """[H, W, 3]; None, with OpenCV's complaint on stderr, for what is broken."""
    if not may_be_deep(encoded[:32].tobytes()):
        plain = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        return None if plain is None else np.asarray(plain, dtype=np.uint8)
    pixels = decode_deep(encoded)
    try:
        return None if pixels is None else to_8_bits(pixels, encoded, pixel_bits)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error


def describe_depth(paths: Sequence[str], pixel_bits: int) -> str:
    """What becomes of the deep images among these, in words; "" where there are none that can be read."""
    found: dict[int, str] = {}
    for path in paths:
        try:
            encoded = np.fromfile(path, dtype=np.uint8)
        except OSError:
            continue
        pixels = decode_deep(encoded) if may_be_deep(encoded[:32].tobytes()) else None
        if pixels is not None and pixels.dtype != np.uint8 and np.issubdtype(pixels.dtype, np.integer):
            found.setdefault(bits_of_values(int(pixels.max()), encoded), path)
    if not found:
        return ""
    bits, example = max(found.items())
    if pixel_bits:
        return f"16-bit images ({example}): the upper 8 of INPUT.PIXEL_BITS {pixel_bits} bits are taken"
    differ = f", others {', '.join(map(str, sorted(found)[:-1]))}" if len(found) > 1 else ""
    return (
        f"16-bit images: {example} uses {bits} bits{differ}; the upper 8 of each image's own are taken. To "
        f"take the same of all, here and in what loads these weights, set INPUT.PIXEL_BITS {bits}"
    )
