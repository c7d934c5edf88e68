"""Where the catalogued datasets are.

A dataset outside the catalogue needs no code: name it "annotations.json@image_folder" in DATASETS.TRAIN or
DATASETS.TEST, or "kind://location" where it is in another format than COCO's. A catalogue of your own is a
Python file with a class DatasetCatalog, named by the key PATHS_CATALOG.
"""

from __future__ import annotations

import difflib
import os
from typing import Any, ClassVar, TypedDict

ROOT_VARIABLE = "MASKRCNN_BENCHMARK_DATASETS"

SHAPES_COMMAND = "python -m maskrcnn_benchmark.data.datasets.shapes --root"


class DatasetEntry(TypedDict):
    """The kind of a dataset, as registered in data.datasets.DATASETS, and what it is opened with."""

    factory: str
    args: dict[str, Any]


def _coco(image_folder: str, annotation_file: str) -> DatasetEntry:
    return {"factory": "COCODataset", "args": {"root": image_folder, "ann_file": annotation_file}}


class DatasetCatalog:
    """Datasets by name, under the folder that MASKRCNN_BENCHMARK_DATASETS names ("datasets" by default)."""

    PATHS: ClassVar[tuple[str, ...]] = ("root", "ann_file")  # arguments that are paths under `root()`
    DATASETS: ClassVar[dict[str, DatasetEntry]] = {
        "coco_2014_train": _coco("coco/train2014", "coco/annotations/instances_train2014.json"),
        "coco_2014_val": _coco("coco/val2014", "coco/annotations/instances_val2014.json"),
        "coco_2014_minival": _coco("coco/val2014", "coco/annotations/instances_minival2014.json"),
        "coco_2014_valminusminival": _coco(
            "coco/val2014", "coco/annotations/instances_valminusminival2014.json"
        ),
        "coco_2017_train": _coco("coco/train2017", "coco/annotations/instances_train2017.json"),
        "coco_2017_val": _coco("coco/val2017", "coco/annotations/instances_val2017.json"),
        "shapes_train": _coco("shapes/train", "shapes/annotations/shapes_train.json"),
        "shapes_val": _coco("shapes/val", "shapes/annotations/shapes_val.json"),
    }

    @staticmethod
    def root() -> str:
        """The folder with the catalogued datasets."""
        return os.environ.get(ROOT_VARIABLE, "datasets")

    @staticmethod
    def get(name: str) -> DatasetEntry:
        """The dataset of a catalogue name, of "annotations.json@image_folder", or of "kind://location".

        Raises ValueError for an unknown name, with the nearest known ones.
        """
        kind, spells_kind, location = name.partition("://")
        if spells_kind and kind != "coco":
            if not kind or not location:
                raise ValueError(f"dataset {name!r}: write kind://location")
            return {"factory": kind, "args": {"location": location}}
        if spells_kind or "@" in name:
            annotation_file, image_folder = split_entry(location or name)
            return _coco(image_folder, annotation_file)
        if name not in DatasetCatalog.DATASETS:
            known = list(DatasetCatalog.DATASETS)
            raise ValueError(
                f"unknown dataset {name!r} in DATASETS.TRAIN or DATASETS.TEST{_nearest(name, known)}; "
                f"known are {', '.join(sorted(known))}, any annotations.json@image_folder, and any kind://location"
            )
        entry = DatasetCatalog.DATASETS[name]
        root = DatasetCatalog.root()
        arguments = {
            key: os.path.join(root, value) if key in DatasetCatalog.PATHS else value
            for key, value in entry["args"].items()
        }
        return {"factory": entry["factory"], "args": arguments}

    @staticmethod
    def advice(name: str) -> str:
        """What to do when the files of a dataset are not there."""
        if "@" in name:
            many = (
                ""
                if name.count("@") == 1
                else "; of its @ the one between a file and a folder that exist counts"
            )
            return f"correct the entry, written annotations.json@image_folder{many}"
        if "://" in name:
            return "correct the entry, written kind://location"
        if name.startswith("shapes_"):
            return f"draw the dataset with: {SHAPES_COMMAND} {os.path.join(DatasetCatalog.root(), 'shapes')}"
        return (
            f"put the dataset there, or set the environment variable {ROOT_VARIABLE} (now "
            f"{DatasetCatalog.root()!r}) to the folder with it, or name it annotations.json@image_folder"
        )


def split_entry(entry: str) -> tuple[str, str]:
    """Annotation file and image folder of "annotations.json@image_folder".

    Of several @, as paths may hold them, the one counts where both sides are there, then one where either is,
    then the last. A path that is not there as written may begin with ~ or hold $VARIABLES.

    Raises ValueError for an entry without two sides.
    """
    places = [place for place, character in enumerate(entry) if character == "@"]
    pairs = [(_expanded(entry[:place]), _expanded(entry[place + 1 :])) for place in places]
    pairs = [pair for pair in pairs if all(pair)]
    if not pairs:
        raise ValueError(f"dataset {entry!r}: write annotations.json@image_folder")
    return max(pairs, key=lambda pair: (os.path.isfile(pair[0]) + os.path.isdir(pair[1]), len(pair[0])))


def _expanded(path: str) -> str:
    return path if os.path.exists(path) else os.path.expandvars(os.path.expanduser(path))


def _nearest(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, nearest))}?)" if nearest else ""
