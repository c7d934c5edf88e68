"""Images from files: decoding and the pixel size the annotations were made for."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.data.datasets.validation import DatasetError


def read_image(path: str, size_wh: tuple[int, int] | None = None) -> Tensor:
    """Decodes an image: uint8 [3, H, W] in blue, green, red order, laid out pixel by pixel.

    The EXIF orientation is applied. Grey, palette, CMYK and transparent images come out as colour ones.

    Raises DatasetError naming the file where it cannot be read, is truncated, or is not of ``size_wh``.
    """
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from error
    # cv2.imdecode writes its complaint about a broken file to stderr and returns None
    pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
    if pixels is None:
        raise DatasetError(
            f"{path}: not an image, or truncated ({len(encoded)} bytes); restore the file, or remove it and "
            "its entry in the json"
        )
    height, width = pixels.shape[:2]
    if size_wh is not None and (width, height) != size_wh:
        turned = " (turned by its EXIF orientation?)" if (height, width) == size_wh else ""
        raise DatasetError(
            f"{path}: the image is {width} x {height}, its annotations are for {size_wh[0]} x {size_wh[1]}"
            f"{turned}; correct width and height in the json, and the annotations with them"
        )
    return torch.from_numpy(pixels).permute(2, 0, 1)
