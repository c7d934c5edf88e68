"""What every dataset for detection gives to the loader, to evaluators and to pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from maskrcnn_benchmark.data.datasets.registry import EVALUATORS
from maskrcnn_benchmark.data.datasets.sample_key import SampleKey, sample_random
from maskrcnn_benchmark.data.transforms.transforms import Transform
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.evaluation import Evaluator
from maskrcnn_benchmark.structures.image_predictions import ImagePredictions, image_predictions

BACKGROUND = "__background__"

Sample = tuple[Tensor, BoxList, int]


@dataclass(frozen=True)
class OpenOptions:
    """What the config says about a dataset that is about to be opened.

    Attributes:
        name: the dataset as the config names it, for messages.
        advice: what a user can do where its files are missing, for messages.
        is_train: whether it is trained on.
        keep_empty: whether images without objects stay.
        masks: whether targets need masks.
        transforms: what every sample goes through.
    """

    name: str
    advice: str
    is_train: bool
    keep_empty: bool
    masks: bool
    transforms: Transform | None


class DetectionDataset(Dataset[Sample], ABC):
    """The protocol of a dataset: derive from it, or offer the same.

    The loader asks for `len`, items and `aspect_ratios`; evaluators for `get_img_info`, `categories` and
    whatever their kind adds; pictures for `get_image` and `get_ground_truth`.

    Attributes:
        kind: the name of its evaluator in EVALUATORS.
        source: the file or folder that it comes from, for messages.
        categories: names by category id, in the order of the labels 1, 2, ...
        transforms: what an item goes through; None leaves it as it is.
    """

    kind: ClassVar[str]
    source: str
    categories: dict[int, str]
    transforms: Transform | None = None

    @abstractmethod
    def __len__(self) -> int:
        """The number of images."""

    @abstractmethod
    def get_img_info(self, index: int) -> dict[str, int | str]:
        """At least id, width and height of an image, without opening it."""

    @abstractmethod
    def get_image(self, index: int) -> Tensor:
        """The image as it is stored: uint8 [3, H, W] in blue, green, red."""

    @abstractmethod
    def get_ground_truth(self, index: int) -> BoxList:
        """The objects of the image in its own frame, as a new BoxList with "labels" and maybe "masks"."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label; label 0 is the background."""
        return (BACKGROUND, *self.categories.values())

    def aspect_ratios(self) -> Tensor:
        """Height divided by width of every image, [len(self)]."""
        infos = (self.get_img_info(index) for index in range(len(self)))
        return torch.tensor([int(info["height"]) / int(info["width"]) for info in infos], dtype=torch.float64)

    def make_evaluator(self, iou_types: Sequence[str]) -> Evaluator:
        """The evaluator of this kind; ValueError where it cannot score an IoU type."""
        evaluator: Evaluator = EVALUATORS[self.kind](self, iou_types)
        return evaluator

    def __getitem__(self, key: int | SampleKey) -> Sample:
        """(image, targets, index) after the transforms; their random choices follow a SampleKey's seed."""
        index = key.image if isinstance(key, SampleKey) else key
        image, target = self.get_image(index), self.get_ground_truth(index)
        if self.transforms is not None:
            image, target = self.transforms(image, target, sample_random(key))
        return image, target, index


def predictions_of_index(
    dataset: DetectionDataset,
    index: int,
    prediction: BoxList,
    with_masks: bool,
    fields: Sequence[str] = (),
) -> ImagePredictions:
    """The detections of image `index` in its own frame and under the dataset's category ids.

    fields: what the evaluator scores beside boxes and masks, by the names in the BoxList.
    """
    info = dataset.get_img_info(index)
    category_ids = tuple(dataset.categories)
    return image_predictions(
        prediction,
        image_id=int(info["id"]),
        image_hw=(int(info["height"]), int(info["width"])),
        label_to_category_id=lambda label: category_ids[label - 1],
        with_masks=with_masks,
        fields=fields,
    )
