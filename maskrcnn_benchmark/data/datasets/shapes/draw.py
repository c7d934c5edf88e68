"""The embedded dataset: disks, boxes and triangles, drawn here instead of downloaded.

    python -m maskrcnn_benchmark.data.datasets.shapes --root datasets/shapes

writes train/ and val/ with JPEG images and annotations/shapes_{train,val}.json in COCO's format. Masks are
the visible part of each object, as polygons along the pixel borders; crowds of small shapes are run lengths.
Image k of a split depends on (seed, split, k) alone.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from maskrcnn_benchmark.data.datasets.catalogue import DatasetCatalog
from maskrcnn_benchmark.data.datasets.shapes.scene import CLASSES, Scene, SceneObject, draw_scene
from maskrcnn_benchmark.data.datasets.validation import DatasetError
from maskrcnn_benchmark.structures.mask_polygons import mask_to_polygons

logger = logging.getLogger("maskrcnn_benchmark.data")

PARAMETERS_FILE = "parameters.json"
# Another version draws other pictures: a folder of an older one is drawn again.
VERSION = 1
JPEG_QUALITY = 95


def draw_shapes(root: str, num_train: int = 400, num_val: int = 400, size: int = 128, seed: int = 0) -> str:
    """Draws the dataset into ``root`` and returns that path; nothing is done where it is already there.

    size: short side of the images in pixels. The folder appears whole or not at all; one that was drawn with
    other parameters is replaced.

    Raises DatasetError where the folder holds something else.
    """
    parameters = {
        "version": VERSION, "num_train": num_train, "num_val": num_val, "size": size, "seed": seed,
    }  # fmt: skip
    root = os.path.normpath(root)
    found = _drawn_with(root)
    if found == parameters:
        return root
    if found is None and os.path.isdir(root) and os.listdir(root):
        raise DatasetError(f"{root}: the folder holds something else; name an empty one or one not there yet")
    unfinished = f"{root}.{os.getpid()}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for split, (name, count) in enumerate((("train", num_train), ("val", num_val))):
            _draw_split(unfinished, name, count, size, (seed, split))
        with open(os.path.join(unfinished, PARAMETERS_FILE), "w") as file:
            json.dump(parameters, file)
        if os.path.isdir(root):
            shutil.rmtree(root)
        os.rename(unfinished, root)
    except OSError:
        # another process may have drawn the same meanwhile
        if _drawn_with(root) != parameters:
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logger.info("%s: drew %d images to train on and %d to test on", root, num_train, num_val)
    return root


def _drawn_with(root: str) -> dict[str, int] | None:
    """The parameters a folder was drawn with; None where it is no such folder."""
    try:
        with open(os.path.join(root, PARAMETERS_FILE)) as file:
            parameters: dict[str, int] = json.load(file)
    except (OSError, ValueError):
        return None
    return parameters


def _draw_split(root: str, name: str, count: int, size: int, seed: tuple[int, int]) -> None:
    """Writes the images of one split and their annotation file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    os.makedirs(os.path.join(root, name))
    os.makedirs(os.path.join(root, "annotations"), exist_ok=True)
    for number in range(count):
        scene = draw_scene(np.random.default_rng([*seed, number]), size)
        image = {
            "id": number + 1,
            "file_name": f"{number + 1:06d}.jpg",
            "width": scene.picture.shape[1],
            "height": scene.picture.shape[0],
        }
        path = os.path.join(root, name, str(image["file_name"]))
        if not cv2.imwrite(path, scene.picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise OSError(f"{path}: cannot be written")
        images.append(image)
        annotations.extend(_annotations(scene, number + 1, first_id=len(annotations) + 1))
    content = {
        "info": {"description": "shapes, drawn by maskrcnn_benchmark"},
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": label, "name": class_name, "supercategory": "shape"}
            for label, class_name in enumerate(CLASSES, start=1)
        ],
    }
    with open(os.path.join(root, "annotations", f"shapes_{name}.json"), "w") as file:
        json.dump(content, file)


def _annotations(scene: Scene, image_id: int, first_id: int) -> list[dict[str, Any]]:
    return [
        {
            "id": annotation_id,
            "image_id": image_id,
            "category_id": CLASSES.index(each.class_name) + 1,
            "bbox": _bounds(each.mask),
            "area": int(each.mask.sum()),
            "iscrowd": int(each.iscrowd),
            "segmentation": _segmentation(each),
        }
        for annotation_id, each in enumerate(scene.objects, start=first_id)
    ]


def _bounds(mask: NDArray[np.bool_]) -> list[int]:
    """x, y, width and height of the pixels of a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def _segmentation(each: SceneObject) -> list[list[float]] | dict[str, list[int]]:
    height, width = each.mask.shape
    if not each.iscrowd:
        polygons = mask_to_polygons(each.mask, (width, height))
        return [polygon.astype(int).reshape(-1).tolist() for polygon in polygons]
    pixels = each.mask.flatten(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(pixels, prepend=0)).tolist()
    edges = [0, *changes, pixels.size]
    return {"size": [height, width], "counts": np.diff(edges).tolist()}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw the embedded dataset of disks, boxes and triangles.")
    parser.add_argument(
        "--root", default=os.path.join(DatasetCatalog.root(), "shapes"), help="folder to write"
    )
    parser.add_argument("--num-train", type=int, default=400, help="images to train on (default 400)")
    parser.add_argument("--num-val", type=int, default=400, help="images to test on (default 400)")
    parser.add_argument("--size", type=int, default=128, help="short side in pixels (default 128)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other pictures (default 0)")
    options = parser.parse_args(arguments)
    root = draw_shapes(options.root, options.num_train, options.num_val, options.size, options.seed)
    print(f"{root}: {options.num_train} images to train on, {options.num_val} to test on")
