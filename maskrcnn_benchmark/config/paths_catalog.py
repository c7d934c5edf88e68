"""Where the catalogued data sets are; the family's path to the weights' catalogue, `ModelCatalog`.

A data set outside the catalogue needs no code: name it "annotations.json@image_folder" in DATASETS.TRAIN or
DATASETS.TEST.
"""

from __future__ import annotations

import difflib
import os
from typing import ClassVar, TypedDict

from maskrcnn_benchmark.weights.sources.catalogue import ModelCatalog as ModelCatalog

ROOT_VARIABLE = "MASKRCNN_BENCHMARK_DATASETS"

SHAPES_COMMAND = "python -m maskrcnn_benchmark.data.datasets.shapes --root"


class DatasetArguments(TypedDict):
    """What a data set is made from."""

    root: str  # the image folder
    ann_file: str


class DatasetEntry(TypedDict):
    """The class that reads a data set, and what it is made from."""

    factory: str
    args: DatasetArguments


class DatasetCatalog:
    """Data sets by name, under the folder that MASKRCNN_BENCHMARK_DATASETS names ("datasets" by default)."""

    # name: (image folder, annotation file)
    DATASETS: ClassVar[dict[str, tuple[str, str]]] = {
        "coco_2014_train": ("coco/train2014", "coco/annotations/instances_train2014.json"),
        "coco_2014_val": ("coco/val2014", "coco/annotations/instances_val2014.json"),
        "coco_2014_minival": ("coco/val2014", "coco/annotations/instances_minival2014.json"),
        "coco_2014_valminusminival": (
            "coco/val2014",
            "coco/annotations/instances_valminusminival2014.json",
        ),
        "coco_2017_train": ("coco/train2017", "coco/annotations/instances_train2017.json"),
        "coco_2017_val": ("coco/val2017", "coco/annotations/instances_val2017.json"),
        "shapes_train": ("shapes/train", "shapes/annotations/shapes_train.json"),
        "shapes_val": ("shapes/val", "shapes/annotations/shapes_val.json"),
    }

    @staticmethod
    def root() -> str:
        """The folder with the catalogued data sets."""
        return os.environ.get(ROOT_VARIABLE, "datasets")

    @staticmethod
    def get(name: str) -> DatasetEntry:
        """The data set of a catalogue name or an "annotations.json@image_folder" entry.

        Raises ValueError for an unknown name, with the nearest known ones.
        """
        if "@" in name:
            annotation_file, _, image_folder = name.rpartition("@")
            if not annotation_file or not image_folder:
                raise ValueError(f"data set {name!r}: write annotations.json@image_folder")
            return _entry(image_folder, annotation_file)
        if name not in DatasetCatalog.DATASETS:
            known = list(DatasetCatalog.DATASETS)
            raise ValueError(
                f"unknown data set {name!r} in DATASETS.TRAIN or DATASETS.TEST{_nearest(name, known)}; "
                f"known are {', '.join(sorted(known))}, and any annotations.json@image_folder"
            )
        image_folder, annotation_file = DatasetCatalog.DATASETS[name]
        root = DatasetCatalog.root()
        return _entry(os.path.join(root, image_folder), os.path.join(root, annotation_file))

    @staticmethod
    def advice(name: str) -> str:
        """What to do when the files of a data set are not there."""
        if name.startswith("shapes_"):
            return f"draw the data set with: {SHAPES_COMMAND} {os.path.join(DatasetCatalog.root(), 'shapes')}"
        if "@" in name:
            return "correct the entry, written annotations.json@image_folder"
        return (
            f"put the data set there, or set the environment variable {ROOT_VARIABLE} (now "
            f"{DatasetCatalog.root()!r}) to the folder with it, or name it annotations.json@image_folder"
        )


def _entry(image_folder: str, annotation_file: str) -> DatasetEntry:
    return {"factory": "COCODataset", "args": {"root": image_folder, "ann_file": annotation_file}}


def _nearest(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, nearest))}?)" if nearest else ""
