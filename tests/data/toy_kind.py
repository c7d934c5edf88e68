"""A user's own file, named by PATHS_CATALOG: a dataset format, its evaluator, a catalogue and a transform.

The format is a text file beside its images; the first line names the classes, and each other line is
`file width height`, followed by `class x y width height` for each object.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.data.datasets import DATASETS, EVALUATORS, DatasetError, DetectionDataset, OpenOptions
from maskrcnn_benchmark.data.datasets.detection_dataset import predictions_of_index
from maskrcnn_benchmark.data.datasets.image_file import read_image
from maskrcnn_benchmark.data.transforms import TRANSFORMS, Transform
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.evaluation import EvaluationResults
from maskrcnn_benchmark.structures.image_predictions import ImagePredictions


class ToyDataset(DetectionDataset):
    kind = "toy"

    def __init__(self, source: str, transforms: Transform | None) -> None:
        names, *lines = Path(source).read_text().splitlines()
        self.source = source
        self.transforms = transforms
        self.categories = dict(enumerate(names.split(), start=1))
        self.lines = [line.split() for line in lines]

    def __len__(self) -> int:
        return len(self.lines)

    def get_img_info(self, index: int) -> dict[str, int | str]:
        file_name, width, height = self.lines[index][:3]
        return {"id": index, "file_name": file_name, "width": int(width), "height": int(height)}

    def get_image(self, index: int) -> Tensor:
        return read_image(str(Path(self.source).parent / self.lines[index][0]))

    def get_ground_truth(self, index: int) -> BoxList:
        info = self.get_img_info(index)
        labels = {name: label for label, name in self.categories.items()}
        objects = np.array(self.lines[index][3:]).reshape(-1, 5)
        boxes = torch.from_numpy(objects[:, 1:].astype(np.float32))
        target = BoxList(boxes, (int(info["width"]), int(info["height"])), mode="xywh").convert("xyxy")
        target.add_field("labels", torch.tensor([labels[name] for name in objects[:, 0].tolist()]))
        return target


@DATASETS.register("toy")
def open_toy(arguments: Mapping[str, Any], options: OpenOptions) -> ToyDataset:
    if not Path(arguments["location"]).is_file():
        raise DatasetError(f"{arguments['location']} does not exist; {options.advice}")
    return ToyDataset(arguments["location"], options.transforms)


@EVALUATORS.register("toy")
class CentreHits:
    """The share of objects of which a detection of the class has its centre within two pixels."""

    metrics: ClassVar[dict[str, tuple[str, ...]]] = {"bbox": ("hits",)}

    def __init__(self, dataset: DetectionDataset, iou_types: Sequence[str]) -> None:
        self.dataset = dataset

    def encode(self, index: int, prediction: BoxList) -> ImagePredictions:
        return predictions_of_index(self.dataset, index, prediction, with_masks=False)

    def score(self, predictions: Sequence[ImagePredictions], output_folder: str | None) -> EvaluationResults:
        hits = total = 0
        for index, found in enumerate(predictions):
            target = self.dataset.get_ground_truth(index).convert("xywh")
            for box, label in zip(target.bbox.numpy(), target.get_field("labels").tolist(), strict=True):
                distance = np.abs(found.boxes[:, :2] + found.boxes[:, 2:] / 2 - box[:2] - box[2:] / 2)
                hits += int(((distance <= 2).all(axis=1) & (found.category_ids == label)).any())
                total += 1
        num_detections = sum(len(found.boxes) for found in predictions)
        if output_folder:
            Path(output_folder).mkdir(parents=True, exist_ok=True)
            (Path(output_folder) / "hits.txt").write_text(f"{hits} of {total}\n")
        return EvaluationResults({"bbox": {"hits": hits / total}}, {}, len(predictions), num_detections)


@EVALUATORS.register("toy_count")
class Count(CentreHits):
    """Detections per image."""

    metrics: ClassVar[dict[str, tuple[str, ...]]] = {"bbox": ("per_image",)}

    def score(self, predictions: Sequence[ImagePredictions], output_folder: str | None) -> EvaluationResults:
        total = sum(len(found.boxes) for found in predictions)
        return EvaluationResults(
            {"bbox": {"per_image": total / len(predictions)}}, {}, len(predictions), total
        )


def invert(image: Tensor, target: BoxList, rng: random.Random) -> tuple[Tensor, BoxList]:
    return 255 - image, target


@TRANSFORMS.register("invert")
def build_invert(cfg: ConfigNode) -> Transform:
    return invert


class DatasetCatalog:
    @staticmethod
    def get(name: str) -> dict[str, Any]:
        if name != "toys":
            raise RuntimeError(f"there is no {name} here")
        return {"factory": "toy", "args": {"location": "toys/objects.txt"}}
