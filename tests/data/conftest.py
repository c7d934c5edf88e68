"""Small COCO datasets written to disk."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

Record = dict[str, Any]


class WrittenCoco:
    """A dataset on disk: ``content`` is its json, which a test may change and write again."""

    def __init__(self, folder: Path, content: Record, image_names: Iterable[str]) -> None:
        self.folder = folder
        self.content = content
        self.annotation_file = folder / "instances.json"
        self.image_folder = folder / "images"
        self.image_folder.mkdir(parents=True)
        for image in content["images"]:
            if image["file_name"] in image_names:
                rng = np.random.default_rng(image["id"])
                pixels = rng.integers(0, 255, (image["height"], image["width"], 3)).astype(np.uint8)
                cv2.imwrite(str(self.image_folder / image["file_name"]), pixels)
        self.write()

    def write(self) -> None:
        self.annotation_file.write_text(json.dumps(self.content))

    @property
    def entry(self) -> str:
        """As it is named in DATASETS.TRAIN."""
        return f"{self.annotation_file}@{self.image_folder}"


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[..., WrittenCoco]:
    """A function that writes a dataset from the content of its json, with a picture for every image."""

    def write(content: Record, name: str = "set") -> WrittenCoco:
        return WrittenCoco(tmp_path / name, content, [image["file_name"] for image in content["images"]])

    return write


def small_content(num_images: int = 5) -> Record:
    """``num_images`` images of different sizes with two objects each, classes 3 and 7."""
    images = [
        {"id": 10 * k + 4, "file_name": f"{k}.png", "width": 40 + 8 * (k % 3), "height": 30 + 12 * (k % 2)}
        for k in range(num_images)
    ]
    annotations = []
    for k, image in enumerate(images):
        for j, category in enumerate((7, 3)):
            x, y, w, h = 3 + 2 * k % 9, 4 + 3 * j, 14 + j, 12 + k % 5
            annotations.append(
                {
                    "id": 100 + 2 * k + j,
                    "image_id": image["id"],
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                }
            )
    categories = [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def content() -> Record:
    """The json of a sound dataset."""
    return small_content()


@pytest.fixture
def many_images() -> Record:
    """The json of a sound dataset of 23 images."""
    return small_content(23)
