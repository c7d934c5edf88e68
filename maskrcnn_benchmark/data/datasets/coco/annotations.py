"""A COCO instance file as a handful of tensors, checked while it is read.

Nothing of the parsed json is kept: worker processes, forked or spawned, share the tensors instead of each
growing its own copy of millions of Python objects.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.config.unique_keys import RepeatedKeyError, load_json
from maskrcnn_benchmark.data.datasets.box_rule import BoxCounts, apply_box_rule
from maskrcnn_benchmark.data.datasets.coco.file_kinds import other_kind, take_whole_numbers
from maskrcnn_benchmark.data.datasets.coco.segments import SegmentReader, Segments
from maskrcnn_benchmark.data.datasets.packed import PackedBytes, offsets
from maskrcnn_benchmark.data.datasets.validation import DatasetError, Problems, add_duplicates, shorten

Record = dict[str, Any]
IDS = "ids are whole numbers from 0 to 2**63 - 1"


@dataclass(frozen=True)
class CocoAnnotations:
    """I images in ascending order of their ids, and their A objects image by image. Crowds are left out."""

    category_ids: tuple[int, ...]  # ascending as read; label k is category_ids[k - 1]
    category_names: tuple[str, ...]
    image_ids: Tensor  # [I] int64
    image_sizes: Tensor  # [I, 2] int64, width and height
    file_names: PackedBytes  # I names, UTF-8
    starts: Tensor  # [I + 1] int64, where an image's objects start
    boxes: Tensor  # [A, 4] float32 xyxy, inside their image
    labels: Tensor  # [A] int64, from 1 on
    segments: Segments | None  # None where masks were not asked for
    counts: BoxCounts  # what the rule for boxes did


def read_coco_annotations(annotation_file: str, masks: bool) -> CocoAnnotations:
    """Reads and checks a COCO instance file; segmentations only where ``masks``.

    Raises DatasetError with one line per problem: file, id, reason, mend.
    """
    content = _load_json(annotation_file)
    take_whole_numbers(content)
    problems = Problems(annotation_file)
    category_names = _read_categories(content["categories"], problems)
    images = _read_images(content["images"], problems)
    records = _check_records(content, images, category_names, problems)
    problems.raise_if_any()

    images.sort(key=lambda image: int(image["id"]))
    position = {image["id"]: index for index, image in enumerate(images)}
    crowds = [record for record in records if record.get("iscrowd", 0)]
    objects = [record for record in records if not record.get("iscrowd", 0)]
    # stable: the objects of an image stay in the file's order
    objects.sort(key=lambda record: position[record["image_id"]])
    sizes = np.array([[image["width"], image["height"]] for image in images], dtype=np.int64).reshape(-1, 2)
    owner = np.array([position[record["image_id"]] for record in objects], dtype=np.int64)
    boxes, keep, counts = apply_box_rule(
        np.array([record["bbox"] for record in objects], dtype=np.float64).reshape(-1, 4),
        sizes[owner],
        [record["id"] for record in objects],
    )
    counts.crowds = [record["id"] for record in crowds]
    segments = None
    if masks:
        segments = _read_segments(objects, keep, sizes[owner], problems, counts)
        _check_crowds(crowds, sizes[[position[record["image_id"]] for record in crowds]], problems)
    problems.raise_if_any()
    category_ids = tuple(category_names)
    label_of = {category_id: label for label, category_id in enumerate(category_ids, start=1)}
    return CocoAnnotations(
        category_ids=category_ids,
        category_names=tuple(category_names.values()),
        image_ids=torch.tensor([image["id"] for image in images], dtype=torch.int64),
        image_sizes=torch.from_numpy(sizes),
        file_names=PackedBytes.pack([image["file_name"].encode() for image in images]),
        starts=offsets(np.bincount(owner[keep], minlength=len(images)).tolist()),
        boxes=torch.from_numpy(boxes[keep]),
        labels=torch.from_numpy(
            np.array([label_of[record["category_id"]] for record in objects], dtype=np.int64)[keep]
        ),
        segments=segments,
        counts=counts,
    )


def _load_json(path: str) -> Record:
    """Parses the file and makes sure that it has COCO's three lists of records."""
    if not os.path.isfile(path):
        raise DatasetError(
            f"{path}: this annotation file does not exist; put it there, or set "
            "MASKRCNN_BENCHMARK_DATASETS to the folder with the datasets, or name a file as "
            "annotations.json@image_folder"
        )
    with open(path, "rb") as file, _no_garbage_collection():
        try:
            content = load_json(file.read())
        except RepeatedKeyError as error:
            raise DatasetError(f"{path}: {error}") from error
        except ValueError as error:
            raise DatasetError(f"{path}: not valid json ({error}); write the file again") from error
    names = ("images", "annotations", "categories")
    missing = [
        name
        for name in names
        if not isinstance(content, dict)
        or not isinstance(content.get(name), list)
        or not all(isinstance(record, dict) for record in content[name])
    ]
    if missing:
        if kind := other_kind(content):
            raise DatasetError(f"{path}: {kind}")
        raise DatasetError(
            f"{path}: not a COCO instance file: no list of records {', '.join(map(repr, missing))}; "
            f"it must hold the lists {', '.join(map(repr, names))}"
        )
    if kind := other_kind(content):
        raise DatasetError(f"{path}: {kind}")
    return content


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The parser makes millions of objects and no cycles; looking for cycles would double its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_categories(records: list[Record], problems: Problems) -> dict[int, str]:
    """Names by id, ascending."""
    if not records:
        problems.add("categories", "the list is empty", "list every category with id and name")
    for index, record in enumerate(records):
        if not _is_id(record.get("id")) or not isinstance(record.get("name"), str):
            problems.add(f"category number {index}", f"no id or name in {record}", f"give it both; {IDS}")
    known = [record for record in records if _is_id(record.get("id"))]
    add_duplicates(problems, "category", [record["id"] for record in known])
    return {
        record["id"]: str(record.get("name"))
        for record in sorted(known, key=lambda record: int(record["id"]))
    }


def _read_images(records: list[Record], problems: Problems) -> list[Record]:
    """The images that can be used."""
    usable = []
    for index, record in enumerate(records):
        where = f"image {record['id']}" if "id" in record else f"image number {index}"
        if not _is_id(record.get("id")):
            problems.add(where, "no whole number as id", f"give every image one; {IDS}")
        elif not isinstance(record.get("file_name"), str) or not record["file_name"]:
            problems.add(where, "no file_name", "name its file, relative to the image folder")
        elif not all(_is_int(record.get(side)) and record[side] > 0 for side in ("width", "height")):
            size = f"width {record.get('width')}, height {record.get('height')}"
            problems.add(where, f"no usable size ({size})", "give width and height in pixels")
        else:
            usable.append(record)
    add_duplicates(problems, "image", [record["id"] for record in usable])
    return usable


def _check_records(
    content: Record, images: list[Record], categories: dict[int, str], problems: Problems
) -> list[Record]:
    """The annotations that can be used. Of one whose image or category was refused above nothing is told."""
    image_ids = {image["id"] for image in images}
    refused_images = _ids_of(content["images"]) - image_ids
    refused_categories = _ids_of(content["categories"]) - set(categories)
    usable = []
    for index, record in enumerate(content["annotations"]):
        where = f"annotation {record['id']}" if "id" in record else f"annotation number {index}"
        if not _is_id(record.get("id")):
            problems.add(where, "no whole number as id", f"give every annotation one; {IDS}")
        elif _refers_to(record.get("image_id"), refused_images):
            continue
        elif not _is_one_of(record.get("image_id"), image_ids):
            problems.add(
                where, f"image_id {record.get('image_id')} is not listed", "list that image, or remove it"
            )
        elif not categories or _refers_to(record.get("category_id"), refused_categories):
            continue
        elif not _is_one_of(record.get("category_id"), categories):
            reason = f"label out of range: category_id {record.get('category_id')}"
            problems.add(where, reason, f"the file has the categories {shorten(list(categories), 10)}")
        elif not _is_box(record.get("bbox")):
            problems.add(where, f"bbox is {record.get('bbox')}", "write [x, y, width, height] in pixels")
        elif record.get("iscrowd", 0) not in (0, 1):
            problems.add(where, f"iscrowd is {record['iscrowd']!r}", "write 0 or 1, or leave it out")
        else:
            usable.append(record)
    add_duplicates(problems, "annotation", [record["id"] for record in usable])
    return usable


def _read_segments(
    objects: Sequence[Record],
    keep: NDArray[np.bool_],
    sizes: NDArray[np.int64],
    problems: Problems,
    counts: BoxCounts,
) -> Segments:
    """The masks of the kept objects. An object whose polygons enclose nothing is taken out of ``keep``."""
    reader = SegmentReader(problems)
    for index in np.flatnonzero(keep).tolist():
        record = objects[index]
        width, height = sizes[index].tolist()
        if not reader.add(record["id"], record.get("segmentation"), (width, height)):
            keep[index] = False
            counts.without_area.append(record["id"])
    counts.short_polygons = reader.short_polygons
    if reader.without_mask:
        problems.add(
            f"annotation {reader.without_mask[0]}",
            f"no segmentation ({len(reader.without_mask)} of {len(objects)} objects have none), "
            "but MODEL.MASK_ON needs masks",
            "set MODEL.MASK_ON False to train on boxes alone, or add the masks",
        )
    return reader.finish()


def _check_crowds(crowds: Sequence[Record], sizes: NDArray[np.int64], problems: Problems) -> None:
    """Training leaves crowds out, but the evaluation reads their run lengths."""
    reader = SegmentReader(problems)
    for record, (width, height) in zip(crowds, sizes.tolist(), strict=True):
        if isinstance(record.get("segmentation"), dict):
            reader.check_run_length(record["id"], record["segmentation"], (width, height))


def _ids_of(records: list[Record]) -> set[Any]:
    """The ids that can be referred to, sound or not."""
    return {record["id"] for record in records if isinstance(record.get("id"), (int, float, str))}


def _refers_to(value: object, refused: set[Any]) -> bool:
    return bool(refused) and isinstance(value, (int, float, str)) and value in refused


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_id(value: object) -> bool:
    """Whether tensors, and the evaluator, can hold it."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_one_of(value: object, ids: Container[int]) -> bool:
    return isinstance(value, (int, float)) and value in ids


def _is_box(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 4:
        return False
    try:
        return bool(np.isfinite(value).all())
    except TypeError:
        return False
