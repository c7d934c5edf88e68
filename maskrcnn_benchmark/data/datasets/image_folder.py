"""Images for classification, sorted into classes by folder."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import torch
from torch import Tensor

from maskrcnn_benchmark.data.datasets.image_file import read_image
from maskrcnn_benchmark.data.datasets.packed import PackedBytes
from maskrcnn_benchmark.data.datasets.sample_key import SampleKey, sample_random
from maskrcnn_benchmark.data.datasets.validation import DatasetError
from maskrcnn_benchmark.structures.bounding_box import BoxList

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
Crop = Callable[[Tensor, random.Random], Tensor]


class ImageFolder:
    """The images below ``root``/<class>/, in torchvision's order: classes by name, then files by name.

    A sample is (image, target, index) as a detector's: the image uint8 [3, H, W] in blue, green, red, after
    ``crop``; the target one box around it whose label is the class, 0 for the first.

    Raises DatasetError where there is no folder, no class, or a class without images; and, when a sample is
    asked for, where a file is no image.
    """

    def __init__(self, root: str | os.PathLike[str], crop: Crop) -> None:
        self.root = os.fspath(root)
        self.crop = crop
        self.class_names = _class_folders(self.root)
        files = [_image_files(os.path.join(self.root, name)) for name in self.class_names]
        empty = [name for name, found in zip(self.class_names, files, strict=True) if not found]
        if empty:
            raise DatasetError(
                f"{os.path.join(self.root, empty[0])}: no image ({', '.join(EXTENSIONS)}) in this folder"
                + (f", nor in those of {len(empty) - 1} other classes" if len(empty) > 1 else "")
                + "; add images, or remove the folder of the class"
            )
        self._paths = PackedBytes.pack([os.fsencode(path) for found in files for path in found])
        self._labels = torch.arange(len(files)).repeat_interleave(torch.tensor([len(f) for f in files]))

    @property
    def num_classes(self) -> int:
        """Classes; there is no background."""
        return len(self.class_names)

    def get_img_info(self, index: int) -> dict[str, str]:
        """The file of an image, as its id."""
        return {"id": self.path(index)}

    def path(self, index: int) -> str:
        """The file of an image."""
        return os.fsdecode(self._paths.unpack(index))

    def label(self, index: int) -> int:
        """The class of an image."""
        return int(self._labels[index])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, key: int | SampleKey) -> tuple[Tensor, BoxList, int]:
        index = key.image if isinstance(key, SampleKey) else key
        image = self.crop(read_image(self.path(index)), sample_random(key))
        height, width = image.shape[1:]
        target = BoxList([[0.0, 0.0, width - 1.0, height - 1.0]], (width, height))
        target.add_field("labels", self._labels[index : index + 1].clone())
        return image, target, index


def open_splits(
    root: str | os.PathLike[str], train_crop: Crop, val_crop: Crop
) -> tuple[ImageFolder, ImageFolder]:
    """``root``/train and ``root``/val.

    Raises DatasetError as ImageFolder, and where their classes differ.
    """
    train = ImageFolder(os.path.join(root, "train"), train_crop)
    val = ImageFolder(os.path.join(root, "val"), val_crop)
    for one, other in ((train, val), (val, train)):
        missing = sorted(set(one.class_names) - set(other.class_names))
        if missing:
            raise DatasetError(
                f"{other.root}: has no folder {missing[0]!r}, which {one.root} has"
                + (f" ({len(missing)} classes are missing)" if len(missing) > 1 else "")
                + "; train and val need the same classes"
            )
    return train, val


def _class_folders(root: str) -> tuple[str, ...]:
    if not os.path.isdir(root):
        raise DatasetError(f"{root}: no such folder; it should hold a folder of images for each class")
    with os.scandir(root) as entries:
        names = tuple(sorted(entry.name for entry in entries if entry.is_dir()))
    if len(names) < 2:
        raise DatasetError(
            f"{root}: {len(names)} class folders; a classifier needs at least two, each with its images"
        )
    return names


def _image_files(folder: str) -> list[str]:
    """The images in a folder and below it."""
    return [
        os.path.join(parent, name)
        for parent, _, names in sorted(os.walk(folder, followlinks=True))
        for name in sorted(names)
        if name.lower().endswith(EXTENSIONS)
    ]
