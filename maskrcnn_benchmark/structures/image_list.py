"""A batch of images of different sizes in one padded tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class ImageList:
    """``tensors`` [N, 3, H, W] with image n in the upper left corner, ``image_sizes`` as (height, width).

    uint8 tensors hold raw BGR pixels, which the detector normalises on its device; floating-point ones
    count as normalised. ``sizes`` [N, 2] int64 repeats the sizes on the device of the tensors, so that
    no size crosses from host to device later.

    Raises ValueError where the tensors are not four-dimensional or the number of sizes differs.
    """

    def __init__(
        self, tensors: Tensor, image_sizes: Sequence[tuple[int, int]], sizes: Tensor | None = None
    ) -> None:
        if tensors.ndim != 4 or tensors.shape[0] != len(image_sizes):
            raise ValueError(
                f"a batch must be [N, 3, H, W] with N sizes, got {tuple(tensors.shape)} and "
                f"{len(image_sizes)} sizes"
            )
        self.tensors = tensors
        self.image_sizes = [(int(height), int(width)) for height, width in image_sizes]
        if sizes is None:
            sizes = torch.tensor(self.image_sizes, dtype=torch.int64).reshape(-1, 2)
            if tensors.is_cuda:  # from page-locked memory, else the copy would make the host wait
                sizes = sizes.pin_memory().to(tensors.device, non_blocking=True)
        self.sizes = sizes

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ImageList:
        """The same batch on another device."""
        tensors = self.tensors.to(device, non_blocking=non_blocking)
        return ImageList(tensors, self.image_sizes, self.sizes.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ImageList:
        """The same batch in page-locked memory (asked for by the data loader)."""
        return ImageList(self.tensors.pin_memory(), self.image_sizes, self.sizes.pin_memory())

    def __len__(self) -> int:
        return self.tensors.shape[0]

    def __repr__(self) -> str:
        shape = tuple(self.tensors.shape)
        return f"ImageList(tensors={shape} {self.tensors.dtype}, image_sizes={self.image_sizes})"


def to_image_list(tensors: ImageList | Tensor | Sequence[Tensor], size_divisible: int = 0) -> ImageList:
    """Batch images [3, H, W] (or a whole [N, 3, H, W] batch) into an ImageList.

    Images are padded with zeros at the bottom and right to the largest height and width, rounded up to a
    multiple of ``size_divisible`` where that is positive. The batch is laid out channels_last.
    """
    if isinstance(tensors, ImageList):
        return tensors
    if isinstance(tensors, Tensor):
        if tensors.ndim == 4 and size_divisible <= 0:
            height, width = tensors.shape[-2:]
            return ImageList(tensors, [(height, width)] * tensors.shape[0])
        tensors = [tensors] if tensors.ndim == 3 else list(tensors)
    if len(tensors) == 0:
        raise ValueError("cannot make a batch of no images")
    for image in tensors:
        if image.ndim != 3 or image.shape[0] != tensors[0].shape[0] or image.dtype != tensors[0].dtype:
            raise ValueError(
                "images must be [3, H, W] tensors of one type, got "
                f"{[(tuple(each.shape), each.dtype) for each in tensors]}"
            )
        if 0 in image.shape:
            raise ValueError(f"image {tuple(image.shape)} has no pixels; leave it out of the batch")
    sizes = [(image.shape[1], image.shape[2]) for image in tensors]
    height, width = max(size[0] for size in sizes), max(size[1] for size in sizes)
    if size_divisible > 0:
        height, width = (
            -(-height // size_divisible) * size_divisible,
            -(-width // size_divisible) * size_divisible,
        )
    first = tensors[0]
    batch = torch.zeros((len(tensors), height, width, first.shape[0]), dtype=first.dtype, device=first.device)
    batch = batch.permute(0, 3, 1, 2)
    for index, image in enumerate(tensors):
        batch[index, :, : image.shape[1], : image.shape[2]].copy_(image)
    return ImageList(batch, sizes)
