"""An image as users have it, as the pixels that a detector takes; or a refusal that says what to give."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.data.datasets.image_file import read_image

# Any, last: a PIL image, of a library that need not be installed.
Image = str | os.PathLike[str] | np.ndarray | Tensor | Any
ALLOWED = (
    "give an array [H, W, 3] or a tensor [3, H, W] of uint8, its channels in blue, green, red, or a path or "
    "a PIL image"
)
# Modes of 8 bits a channel, which come as colour images.
PIL_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")


def as_pixels(image: Image, pixel_bits: int = 0) -> Tensor:
    """uint8 [3, H, W] in blue, green, red. pixel_bits: as INPUT.PIXEL_BITS, for files.

    A PIL image is turned by its EXIF orientation and comes in colour, without transparency, as one from a
    file does.

    Raises:
        ValueError: a file that is no image, pixels of another shape or dtype, or anything else.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(os.fspath(image), pixel_bits=pixel_bits)
    if _is_pil(image):
        return _from_pil(image)
    if isinstance(image, np.ndarray):
        fault = _fault_of_array(image)
        pixels = None if fault else torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, 0)
    elif isinstance(image, Tensor):
        fault = _fault_of_tensor(image)
        pixels = image
    else:
        raise ValueError(f"{_described(image)} is no image: {ALLOWED}")
    if fault or pixels is None:
        shape = tuple(image.shape)
        raise ValueError(f"an image of shape {shape} and dtype {image.dtype}: {ALLOWED} ({fault})")
    return pixels


def _fault_of_array(image: np.ndarray) -> str:
    """What is to be done about an array that is not as it should be; "" for one that is."""
    if image.ndim == 4:
        return "several images are a list: list(images)"
    if image.ndim == 2:
        return "a grey one becomes colour with np.repeat(image[:, :, None], 3, axis=2)"
    if image.ndim == 3 and image.shape[2] == 4:
        return "leave out the fourth channel: image[:, :, :3]"
    if image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        return "the channels go last: image.transpose(1, 2, 0)"
    is_of_shape = image.ndim == 3 and image.shape[2] == 3
    return _fault_of_values(is_of_shape, image.dtype == np.uint8, 0 in image.shape)


def _fault_of_tensor(image: Tensor) -> str:
    """As `_fault_of_array`."""
    if image.dim() == 4:
        return "several images are a list: list(images)"
    if image.dim() == 2:
        return "a grey one becomes colour with image.expand(3, -1, -1)"
    if image.dim() == 3 and len(image) == 4:
        return "leave out the fourth channel: image[:3]"
    if image.dim() == 3 and len(image) != 3 and image.shape[2] == 3:
        return "the channels go first: image.permute(2, 0, 1)"
    is_of_shape = image.dim() == 3 and len(image) == 3
    return _fault_of_values(is_of_shape, image.dtype == torch.uint8, 0 in image.shape)


def _fault_of_values(is_of_shape: bool, is_uint8: bool, is_empty: bool) -> str:
    if not is_of_shape:
        return "it has not three channels"
    if not is_uint8:
        return "the pixels are whole numbers of 0..255"
    return "it has no pixels" if is_empty else ""


def _described(image: object) -> str:
    """What was given in place of an image, and how it could become one."""
    if image is None:
        return "None (what cv2.imread gives for a file that it cannot read)"
    if isinstance(image, (bytes, bytearray, memoryview)) or hasattr(image, "read"):
        return f"{type(image).__name__} (encoded, or a file: open it with PIL.Image.open)"
    if isinstance(image, Mapping) or not hasattr(image, "__iter__"):
        return f"an object of type {type(image).__name__}"
    return f"{type(image).__name__} (several images are a list: list(images))"


def _is_pil(image: object) -> bool:
    """Whether it is a PIL image; without PIL imported there is none."""
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(image, pil.Image)


def _from_pil(image: Any) -> Tensor:
    from PIL import ImageOps  # there, since an image of it is; not needed by the package otherwise

    where = f"a PIL image ({getattr(image, 'filename', '') or image.mode})"
    if image.mode not in PIL_MODES:
        raise ValueError(f"{where} of mode {image.mode}, not of 8 bits a channel: scale it to 0..255 first")
    if 0 in image.size:
        raise ValueError(f"{where} of size {image.size}: it has no pixels")
    try:
        colour = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError) as error:  # a file that is read only now
        raise ValueError(f"{where} cannot be decoded: {error}") from error
    return torch.from_numpy(np.ascontiguousarray(colour[:, :, ::-1])).movedim(-1, 0)
