"""Pixels of more than 8 bits: which value of a 16-bit or float image becomes 255.

The rule, where INPUT.PIXEL_BITS is 0: what the file says of its range (TIFF MaxSampleValue, PNM's largest
value, PNG's sBIT, by whose specification samples fill all 16 bits), or else the smallest of 8, 10, 12, 14 and
16 bits that holds the image's largest value. A fixed number of bits counts for every image; larger values
become 255. Of b bits the upper 8 are taken.
"""

from __future__ import annotations

import re
import struct

import cv2
import numpy as np
from numpy.typing import NDArray

PNG = b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\x00", b"MM\x00*")
PNM = (b"P2", b"P3", b"P5", b"P6")
JPEG_2000 = b"\x00\x00\x00\x0cjP  "
PNG_DEPTH = 24  # where a PNG file has its bits a channel
MAX_SAMPLE_VALUE = 281  # tag of TIFF
Pixels = NDArray[np.generic]


def may_be_deep(head: bytes) -> bool:
    """Whether an image whose file begins with `head` (32 bytes) may have more than 8 bits a channel."""
    if head.startswith(PNG):
        return head[PNG_DEPTH : PNG_DEPTH + 1] == b"\x10"
    return head.startswith((*TIFF, *PNM, JPEG_2000))


def decode_deep(encoded: NDArray[np.uint8]) -> Pixels | None:
    """Blue, green, red [H, W, 3] in the dtype of the file; None where it is not an image.

    OpenCV gives no colours for float images of one channel, nor for integers of 32 bits.
    """
    try:
        pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if pixels is None:
            pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if pixels is None:
        return None
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], -1)[:, :, :1], 3, axis=2)
    found: Pixels = pixels[:, :, :3]
    return found


def to_8_bits(pixels: Pixels, encoded: NDArray[np.uint8], pixel_bits: int = 0) -> NDArray[np.uint8]:
    """The pixels [H, W, 3] of a file in 0..255 by the rule above.

    Raises ValueError, with the reason alone, for floats that are neither in 0..1 nor in 0..255.
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if np.issubdtype(pixels.dtype, np.floating):
        return _floats_to_8_bits(pixels)
    values = np.maximum(pixels, 0).astype(np.int64)
    bits = pixel_bits or bits_of_values(int(values.max()), encoded)
    return (np.minimum(values, 2**bits - 1) >> (bits - 8)).astype(np.uint8)


def bits_of_values(largest: int, encoded: NDArray[np.uint8]) -> int:
    """Bits of an image with this largest value; those that its file names, if it does."""
    named = _named_bits(encoded.tobytes())
    needed = max(8, largest.bit_length())
    return named if named >= needed else needed + needed % 2


def _floats_to_8_bits(pixels: Pixels) -> NDArray[np.uint8]:
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 255):  # also where one is not a number
        raise ValueError(
            f"a float image with values from {low:g} to {high:g}; which of them is white is not known, so "
            "write it with values from 0 to 1, or as 8 or 16 bits"
        )
    scale = 255 if high <= 1 else 1
    return np.rint(pixels.astype(np.float64) * scale).astype(np.uint8)


def _named_bits(content: bytes) -> int:
    """Bits that the file says its values fill; 0 where it says nothing."""
    if content.startswith(PNG):
        return 16 if b"sBIT" in content[: content.find(b"IDAT")] else 0
    if content.startswith(TIFF):
        return _largest_of_tiff(content).bit_length()
    header = re.match(rb"P[2356](?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+(\d+)", content)
    return int(header[1]).bit_length() if header else 0


def _largest_of_tiff(content: bytes) -> int:
    """MaxSampleValue of the first image of a TIFF file; 0 where it is not there or does not fit its entry."""
    order = "<" if content.startswith(b"II") else ">"
    try:
        (begin,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, begin)
        for index in range(count):
            tag, kind, length, value = struct.unpack_from(f"{order}HHIH", content, begin + 2 + 12 * index)
            if tag == MAX_SAMPLE_VALUE and kind == 3 and length in (1, 2):
                return int(value)
    except struct.error:
        return 0
    return 0
