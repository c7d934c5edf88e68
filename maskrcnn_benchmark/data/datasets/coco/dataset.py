"""Datasets in COCO's format."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from maskrcnn_benchmark.data.datasets.coco.annotations import read_coco_annotations
from maskrcnn_benchmark.data.datasets.detection_dataset import DetectionDataset, OpenOptions
from maskrcnn_benchmark.data.datasets.find_image import find_images
from maskrcnn_benchmark.data.datasets.image_file import describe_depth, read_image
from maskrcnn_benchmark.data.datasets.image_headers import Listed, check_headers
from maskrcnn_benchmark.data.datasets.packed import IdMap, PackedBytes
from maskrcnn_benchmark.data.datasets.registry import DATASETS
from maskrcnn_benchmark.data.datasets.validation import DatasetError, Problems
from maskrcnn_benchmark.data.transforms.transforms import Transform
from maskrcnn_benchmark.structures.bounding_box import BoxList

LOOKED_AT = 8  # images opened for what is said of their depth

logger = logging.getLogger("maskrcnn_benchmark.data")


class COCODataset(DetectionDataset):
    """Images with boxes, labels and masks from a COCO instance file, in ascending order of image ids.

    ``annotation_file`` and ``image_folder`` say where it comes from. The targets hold the objects that are no
    crowd, clipped to the image, with the fields "labels" and, where ``masks``, "masks". What is left out or
    clipped is counted and logged.

    Raises DatasetError for everything that is wrong with the file or missing in the folder.
    """

    kind = "coco"

    def __init__(
        self,
        ann_file: str,
        root: str,
        remove_images_without_annotations: bool,
        transforms: Transform | None = None,
        masks: bool = True,
        pixel_bits: int = 0,
    ) -> None:
        if not os.path.isdir(root):
            raise DatasetError(
                f"{root}: the image folder of {ann_file} does not exist; put it there, or set "
                "MASKRCNN_BENCHMARK_DATASETS to the folder with the datasets"
            )
        self.source = self.annotation_file = ann_file
        self.image_folder = root
        self.transforms = transforms
        self.pixel_bits = pixel_bits
        self._annotations = read_coco_annotations(ann_file, masks)
        self._check_files()
        num_objects = self._annotations.starts.diff()
        self._images = torch.arange(len(num_objects))
        if remove_images_without_annotations:
            self._images = num_objects.nonzero().flatten()
        self._check_headers()
        self._log(len(num_objects))
        self._set_classes()

    def reorder_classes(self, order: Sequence[int]) -> None:
        """Gives label k + 1 to the category whose label was order[k] + 1."""
        annotations = self._annotations
        new_label = torch.zeros(len(order) + 1, dtype=torch.int64)
        new_label[torch.tensor(order) + 1] = torch.arange(1, len(order) + 1)
        self._annotations = replace(
            annotations,
            category_ids=tuple(annotations.category_ids[index] for index in order),
            category_names=tuple(annotations.category_names[index] for index in order),
            labels=new_label[annotations.labels],
        )
        self._set_classes()

    @property
    def ids(self) -> list[int]:
        """Image ids in the order of the dataset."""
        chosen: list[int] = self._annotations.image_ids[self._images].tolist()
        return chosen

    @property
    def id_to_img_map(self) -> IdMap:
        """Image id of every index."""
        return IdMap(self._annotations.image_ids, self._images)

    def get_img_info(self, index: int) -> dict[str, int | str]:
        """id, width, height and file_name of an image."""
        image = int(self._images[index])
        width, height = self._annotations.image_sizes[image].tolist()
        return {
            "id": int(self._annotations.image_ids[image]),
            "width": width,
            "height": height,
            "file_name": self._annotations.file_names.unpack(image).decode(),
        }

    def aspect_ratios(self) -> Tensor:
        """Height divided by width of every image, [len(self)], without opening one."""
        sizes = self._annotations.image_sizes[self._images].double()
        return sizes[:, 1] / sizes[:, 0]

    def get_image(self, index: int) -> Tensor:
        """The image as it is stored; DatasetError where it is not readable or not of the listed size."""
        info = self.get_img_info(index)
        return read_image(self._path(index), (int(info["width"]), int(info["height"])), self.pixel_bits)

    def _path(self, index: int) -> str:
        return os.path.join(self.image_folder, str(self.get_img_info(index)["file_name"]))

    def get_ground_truth(self, index: int) -> BoxList:
        """The targets of an image in its own frame, before the transforms."""
        image = int(self._images[index])
        width, height = self._annotations.image_sizes[image].tolist()
        first, last = self._annotations.starts[image : image + 2].tolist()
        target = BoxList(self._annotations.boxes[first:last].clone(), (width, height), mode="xyxy")
        target.add_field("labels", self._annotations.labels[first:last].clone())
        if self._annotations.segments is not None:
            target.add_field("masks", self._annotations.segments.select(first, last, (width, height)))
        return target

    def __len__(self) -> int:
        return len(self._images)

    def why_empty(self) -> str:
        """For a message: what left no object of those that the file lists, and what to do."""
        counts = self._annotations.counts
        left_out = counts.describe()
        if len(self._annotations.labels) or not left_out:
            return ""
        return f"all objects are left out: {', '.join(left_out)}; {counts.mend()}"

    def _set_classes(self) -> None:
        ids, names = self._annotations.category_ids, self._annotations.category_names
        self.categories = dict(zip(ids, names, strict=True))
        self.contiguous_category_id_to_json_id = dict(enumerate(ids, start=1))
        self.json_category_id_to_contiguous_id = {each: label for label, each in enumerate(ids, start=1)}

    def _check_files(self) -> None:
        packed, image_ids = self._annotations.file_names, self._annotations.image_ids.tolist()
        problems = Problems(self.annotation_file)
        images = [(each, packed.unpack(image).decode()) for image, each in enumerate(image_ids)]
        taken = find_images(problems, self.image_folder, images)
        problems.raise_if_any()
        if taken:
            names = [taken[each][1] if each in taken else name for each, name in images]
            packed = PackedBytes.pack([os.fsencode(name) for name in names])
            self._annotations = replace(self._annotations, file_names=packed)
            logger.warning(
                "%s: %d file names differ from the files' in Unicode form or slashes, such as %r from %r: "
                "these files are taken",
                self.annotation_file,
                len(taken),
                *next(iter(taken.values())),
            )

    def _check_headers(self) -> None:
        infos = (self.get_img_info(index) for index in range(len(self)))
        images = [
            Listed(
                int(info["id"]),
                os.path.join(self.image_folder, str(info["file_name"])),
                (int(info["width"]), int(info["height"])),
            )
            for info in infos
        ]
        problems = Problems(self.annotation_file)
        check_headers(problems, images, partial(read_image, pixel_bits=self.pixel_bits))
        problems.raise_if_any()

    def _log(self, listed: int) -> None:
        annotations = self._annotations
        logger.info(
            "%s: %d images, %d objects of %d classes; %d images without objects %s",
            self.annotation_file,
            listed,
            len(annotations.labels),
            len(annotations.category_ids),
            int((annotations.starts.diff() == 0).sum()),
            "left out" if len(self._images) < listed else "kept",
        )
        for line in annotations.counts.describe():
            logger.info("%s: %s", self.annotation_file, line)
        if why := self.why_empty():
            logger.warning("%s: %s", self.annotation_file, why)
        step = max(1, len(self) // LOOKED_AT)
        if depth := describe_depth(
            [self._path(index) for index in range(0, len(self), step)], self.pixel_bits
        ):
            logger.warning("%s: %s", self.annotation_file, depth)


@DATASETS.register("coco", "COCODataset")
def open_coco(arguments: Mapping[str, Any], options: OpenOptions) -> COCODataset:
    """The dataset of the arguments "ann_file" and "root", the image folder.

    Raises DatasetError for an argument or a file that is missing, and as `COCODataset`.
    """
    for key, what in (("ann_file", "annotation file"), ("root", "image folder")):
        if key not in arguments:
            raise DatasetError(f"{options.name}: no {key!r}, the {what}, in its arguments {dict(arguments)}")
        if not os.path.exists(arguments[key]):
            raise DatasetError(
                f"{arguments[key]}: the {what} of {options.name} does not exist; {options.advice}"
            )
    return COCODataset(
        arguments["ann_file"],
        arguments["root"],
        remove_images_without_annotations=not options.keep_empty,
        transforms=options.transforms,
        masks=options.masks,
        pixel_bits=options.pixel_bits,
    )
