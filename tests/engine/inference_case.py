"""A dataset of plain images and a detector that knows their objects.

Shared by the inference tests, and run as a script by each process of the distributed one (arguments: folder,
number of images, results file).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.engine.inference import inference
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.utils import comm

HEIGHT, WIDTH, SCALE = 40, 60, 2


def write_dataset(folder: Path, num_images: int) -> None:
    """Image i is uniformly of brightness i and holds one box that depends on i."""
    images, annotations = [], []
    for i in range(num_images):
        images.append({"id": 100 + i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH})
        cv2.imwrite(str(folder / f"{i}.png"), np.full((HEIGHT, WIDTH, 3), i, np.uint8))
        x, y, w, h = 5 + i, 3 + i, 20, 15
        box = {"id": i + 1, "image_id": 100 + i, "category_id": 1 + i % 2, "bbox": [x, y, w, h]}
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotations.append({**box, "area": w * h, "iscrowd": 0, "segmentation": [polygon]})
    categories = [{"id": 1, "name": "even"}, {"id": 2, "name": "odd"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))


class KnownDataset(COCODataset):
    """The images at SCALE times their size, without decoding anything."""

    def __getitem__(self, index: int) -> Any:
        size_wh = (WIDTH * SCALE, HEIGHT * SCALE)
        return torch.full((3, size_wh[1], size_wh[0]), index, dtype=torch.uint8), BoxList([], size_wh), index


class KnowingDetector(nn.Module):
    """Finds the box of each image, which it knows by the brightness; keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm2d(3).eval()  # has buffers, which DistributedDataParallel exchanges
        self.seen: list[int] = []
        self.modes: set[bool] = set()

    def forward(self, images: ImageList) -> list[BoxList]:
        self.modes.add(self.training)
        predictions = []
        for image, (height, width) in zip(images.tensors, images.image_sizes, strict=True):
            i = int(image[0, 0, 0])
            self.seen.append(i)
            x, y, w, h = ((5 + i) * SCALE, (3 + i) * SCALE, 20 * SCALE, 15 * SCALE)
            # The last pixel belongs to the box, in the frame of the original image.
            box = BoxList([[x, y, x + w - SCALE, y + h - SCALE]], (width, height))
            box.add_field("scores", torch.tensor([0.9]))
            box.add_field("labels", torch.tensor([1 + i % 2]))
            box.add_field("mask", torch.ones(1, 1, 28, 28))
            predictions.append(box)
        return predictions


def collate(items: list[Any]) -> Any:
    tensors = torch.stack([item[0] for item in items])
    sizes = [(int(tensors.shape[2]), int(tensors.shape[3]))] * len(items)
    return ImageList(tensors, sizes), [item[1] for item in items], tuple(item[2] for item in items)


def make_loader(folder: Path, indices: range | None = None, batch_size: int = 2) -> DataLoader[Any]:
    dataset = KnownDataset(str(folder / "annotations.json"), str(folder), False)
    chosen: Any = list(range(len(dataset)) if indices is None else indices)
    return DataLoader(dataset, batch_size=batch_size, sampler=chosen, collate_fn=collate)


def main() -> None:
    """One process of the distributed test: images rank, rank + world size, ...; none is seen twice."""
    folder, num_images, results_file = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    comm.init_process_group(torch.device("cpu"))
    rank, world_size = comm.get_rank(), comm.get_world_size()
    model = KnowingDetector()
    # The wrapper exchanges buffers in every forward: unequal shares would wait for each other.
    wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=True)
    loader = make_loader(folder, range(rank, num_images, world_size), batch_size=1)
    found = inference(
        wrapped, loader, "known", ("bbox", "segm"), device="cpu", output_folder=str(folder / "out")
    )
    seen = comm.all_gather(model.seen)
    assert (found is None) == (rank != 0)
    if found is not None:
        results, predictions = found
        content = {"seen": seen, "results": results.results, "ids": [each.image_id for each in predictions]}
        results_file.write_text(json.dumps(content))
    comm.destroy_process_group()


if __name__ == "__main__":
    main()
