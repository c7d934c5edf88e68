"""The images and objects that detectors are measured on: drawn from COCO's statistics, or a dataset's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.benchmark.measure.coco_statistics import CocoStatistics, coco_statistics
from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.data.build import build_dataset
from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.transforms.transforms import resized_hw
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

PIXELS_PER_GRAIN = 16  # side of the patches that drawn images are made of


class Sample(NamedTuple):
    """An image uint8 [3, H, W] in BGR as the network gets it, its objects, and its size before resizing."""

    image: Tensor
    target: BoxList
    original_wh: tuple[int, int]


class Images(Protocol):
    """Where images come from; the same index or step always gives the same ones.

    `source` says so in a few words.
    """

    @property
    def source(self) -> str: ...

    def test_image(self, index: int) -> Sample:
        """An image as testing sees it."""

    def train_batch(self, step: int, num_images: int) -> list[Sample]:
        """Images of one orientation, portrait or landscape, as training groups them."""


@dataclass(frozen=True)
class DrawnImages:
    """Smooth noise of COCO's image sizes, with COCO's numbers and sizes of objects.

    Attributes:
        short_side, long_side: length of the short side after resizing, and limit of the long one.
        num_classes: with the background.
    """

    short_side: int
    long_side: int
    num_classes: int
    with_masks: bool
    seed: int = 0
    statistics: CocoStatistics = field(default_factory=coco_statistics)
    source: str = "COCO statistics"

    def test_image(self, index: int) -> Sample:
        """Draws image `index`."""
        rng = np.random.default_rng([self.seed, 0, index])
        return self._draw(rng, self.statistics.draw_size(rng))

    def train_batch(self, step: int, num_images: int) -> list[Sample]:
        """Draws the images of a step; the first one's orientation decides for all."""
        rng = np.random.default_rng([self.seed, 1, step])
        sizes = [self.statistics.draw_size(rng)]
        while len(sizes) < num_images:
            size = self.statistics.draw_size(rng)
            if is_upright(size) == is_upright(sizes[0]):
                sizes.append(size)
        return [self._draw(rng, size) for size in sizes]

    def _draw(self, rng: np.random.Generator, original_wh: tuple[int, int]) -> Sample:
        height, width = resized_hw(*original_wh, self.short_side, self.long_side)
        count = self.statistics.draw_count(rng)
        objects = [self.statistics.draw_object(rng, original_wh, self.num_classes) for _ in range(count)]
        target = BoxList(torch.tensor([found.box for found in objects]), original_wh, mode="xyxy")
        target.add_field("labels", torch.tensor([found.label for found in objects]))
        if self.with_masks:
            outlines = [[found.outline.reshape(-1)] for found in objects]
            target.add_field("masks", SegmentationMask(outlines, original_wh))
        return Sample(draw_picture(rng, height, width), target.resize((width, height)), original_wh)


@dataclass(frozen=True)
class DatasetImages:
    """The images of a dataset: `test` as testing transforms them, `train` as training does."""

    test: COCODataset
    train: COCODataset
    source: str
    seed: int = 0

    def test_image(self, index: int) -> Sample:
        """Image `index`; after the last one they start again."""
        return sample_of(self.test, index % len(self.test))

    def train_batch(self, step: int, num_images: int) -> list[Sample]:
        """Images drawn at random, all of the first one's orientation."""
        rng = np.random.default_rng([self.seed, 1, step])
        upright = self.train.aspect_ratios().numpy() >= 1
        first = int(rng.integers(len(upright)))
        alike = np.flatnonzero(upright == upright[first])
        others = rng.choice(alike, num_images - 1)
        return [sample_of(self.train, int(index)) for index in (first, *others)]


def make_images(cfg: ConfigNode, dataset: str | None, seed: int) -> Images:
    """Images of the config's test size, from the dataset where one is given, else drawn.

    Raises:
        ValueError: the dataset is not in the catalogue, or its files are missing.
    """
    if dataset is None:
        return DrawnImages(
            cfg.INPUT.MIN_SIZE_TEST,
            cfg.INPUT.MAX_SIZE_TEST,
            cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES,
            cfg.MODEL.MASK_ON,
            seed,
        )
    test, train = build_dataset(cfg, dataset, False), build_dataset(cfg, dataset, True)
    return DatasetImages(test, train, dataset, seed)


def sample_of(dataset: COCODataset, index: int) -> Sample:
    """Image `index` of a dataset with its objects."""
    image, target, _ = dataset[index]
    info = dataset.get_img_info(index)
    return Sample(image, target, (int(info["width"]), int(info["height"])))


def is_upright(size_wh: tuple[int, int]) -> bool:
    """Whether training groups the image with those at least as high as wide."""
    return size_wh[1] >= size_wh[0]


def draw_picture(rng: np.random.Generator, height: int, width: int) -> Tensor:
    """Smooth noise, uint8 [3, height, width]: what a network computes on it varies from place to place."""
    grains = (-(-height // PIXELS_PER_GRAIN) + 1, -(-width // PIXELS_PER_GRAIN) + 1)
    coarse = torch.from_numpy(rng.random((1, 3, *grains), dtype=np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return smooth[0].mul_(255).to(torch.uint8)
