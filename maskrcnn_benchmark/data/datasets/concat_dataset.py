"""Several datasets, one after another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from maskrcnn_benchmark.data.datasets.detection_dataset import DetectionDataset, Sample
from maskrcnn_benchmark.data.datasets.sample_key import SampleKey
from maskrcnn_benchmark.data.datasets.validation import DatasetError


class ConcatDataset(Dataset[Sample]):
    """The images of several datasets, of whatever kinds, with the same classes under one running index.

    `source` and `categories`, with their ids, are the first one's. Raises DatasetError where names differ.
    """

    def __init__(self, datasets: Sequence[DetectionDataset]) -> None:
        first = datasets[0]
        for other in datasets[1:]:
            if list(other.categories.values()) != list(first.categories.values()):
                raise DatasetError(
                    f"{other.source}: its categories are not those of {first.source}; datasets can only be "
                    "joined where the names agree in their order; see `align_classes`"
                )
        self.datasets = list(datasets)
        self.source = first.source
        self.class_names = first.class_names
        self.categories = first.categories
        self._ends = torch.tensor([len(dataset) for dataset in datasets]).cumsum(0).tolist()

    def get_idxs(self, index: int) -> tuple[int, int]:
        """Which dataset an index falls into, and the index there."""
        which = bisect_right(self._ends, index)
        return which, index - (self._ends[which - 1] if which > 0 else 0)

    def get_img_info(self, index: int) -> dict[str, int | str]:
        """id, width, height and file_name of an image."""
        which, inner = self.get_idxs(index)
        return self.datasets[which].get_img_info(inner)

    def aspect_ratios(self) -> Tensor:
        """Height divided by width of every image."""
        return torch.cat([dataset.aspect_ratios() for dataset in self.datasets])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, key: int | SampleKey) -> Sample:
        index = key.image if isinstance(key, SampleKey) else key
        which, inner = self.get_idxs(index)
        image, target, _ = self.datasets[which][
            key._replace(image=inner) if isinstance(key, SampleKey) else inner
        ]
        return image, target, index
