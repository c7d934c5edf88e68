"""Image folders against torchvision's reading of the same layout; the crops; what is refused, by name."""

from __future__ import annotations

import math
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.datasets import ImageFolder as TorchvisionImageFolder
from torchvision.transforms import functional as pillow

from maskrcnn_benchmark.data.datasets.image_folder import ImageFolder, open_splits
from maskrcnn_benchmark.data.datasets.sample_key import SampleKey
from maskrcnn_benchmark.data.datasets.validation import DatasetError
from maskrcnn_benchmark.data.transforms.crops import CenterCrop, RandomResizedCrop, random_part


def whole(image: Tensor, rng: random.Random) -> Tensor:
    return image


def write_image(path: Path, shade: int, width: int = 7, height: int = 5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((height, width, 3), (shade, 0, 200), np.uint8)  # blue, green, red
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("zebra/b.png", "zebra/a.png", "ant/deep/c.PNG", "ant/a.png", "bee/x.bmp")):
        write_image(tmp_path / name, 10 * number)
    (tmp_path / "bee" / "notes.txt").write_text("no image")
    (tmp_path / "list.txt").write_text("no class")
    return tmp_path


def test_classes_and_files_are_torchvisions(folder: Path) -> None:
    ours, theirs = ImageFolder(folder, whole), TorchvisionImageFolder(str(folder))
    assert list(ours.class_names) == theirs.classes
    assert [(ours.path(i), ours.label(i)) for i in range(len(ours))] == theirs.samples
    image, target, index = ours[4]
    assert index == 4
    assert target.get_field("labels").tolist() == [2]
    assert target.size == (7, 5)
    assert image.dtype == torch.uint8
    assert torch.equal(image.flip(0), pillow.pil_to_tensor(theirs[4][0]))  # blue, green, red here


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "no such folder"),
        (lambda root: (root / "train" / "ant").mkdir(parents=True), "1 class folders; a classifier needs"),
        (lambda root: (root / "train" / "bee").mkdir(parents=True), r"train/bee: no image \(.jpg"),
    ],
)
def test_folders_that_hold_no_dataset(tmp_path: Path, make: object, message: str) -> None:
    if "bee" in message:
        write_image(tmp_path / "train" / "ant" / "a.png", 0)
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(DatasetError, match=message):
        open_splits(tmp_path, whole, whole)


def test_splits_of_different_classes_are_refused(tmp_path: Path) -> None:
    for name in ("train/ant/a.png", "train/bee/a.png", "val/ant/a.png", "val/cow/a.png"):
        write_image(tmp_path / name, 0)
    with pytest.raises(DatasetError, match=r"val: has no folder 'bee', which .*train has"):
        open_splits(tmp_path, whole, whole)
    write_image(tmp_path / "val" / "bee" / "a.png", 0)
    with pytest.raises(DatasetError, match=r"train: has no folder 'cow', which .*val has"):
        open_splits(tmp_path, whole, whole)


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_an_unreadable_image_is_named(folder: Path, content: bytes) -> None:
    (folder / "ant" / "a.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"ant/a\.png: not an image, or truncated"):
        ImageFolder(folder, whole)[0]


def test_a_sample_is_a_function_of_its_key(folder: Path) -> None:
    rng = np.random.default_rng(0)
    assert cv2.imwrite(str(folder / "ant" / "a.png"), rng.integers(0, 256, (40, 60, 3), np.uint8))
    images = ImageFolder(folder, RandomResizedCrop(16))
    first, again, other = (images[SampleKey(0, position, 5)][0] for position in (3, 3, 4))
    assert first.shape == (3, 16, 16)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_random_parts_have_the_areas_and_ratios_of_the_paper() -> None:
    rng = random.Random(0)
    height, width = 300, 400
    parts = [random_part(height, width, rng) for _ in range(2000)]
    areas = torch.tensor([h * w / (height * width) for _, _, h, w in parts])
    ratios = torch.tensor([w / h for _, _, h, w in parts])
    assert all(t >= 0 and t + h <= height and left >= 0 and left + w <= width for t, left, h, w in parts)
    assert 0.075 < areas.min() < 0.1
    assert areas.max() > 0.9
    assert 0.74 < ratios.min() < 0.76
    assert 1.32 < ratios.max() < 1.35
    # too thin for any try: the middle, at the nearest ratio
    assert random_part(400, 40, rng) == ((400 - 53) // 2, 0, 53, 40)
    assert random_part(40, 400, rng) == (0, (400 - 53) // 2, 40, 53)


def test_a_random_crop_mirrors_half_of_the_time() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).expand(3, 64, 64)
    rng = random.Random(1)
    crops = [RandomResizedCrop(8)(ramp, rng)[0, 0] for _ in range(200)]
    mirrored = sum(int(crop[0] > crop[-1]) for crop in crops)
    assert 70 < mirrored < 130


@pytest.mark.parametrize(("height", "width"), [(50, 80), (90, 33), (32, 32), (16, 300)])
def test_the_central_crop_is_pillows(height: int, width: int) -> None:
    """224 of 256, as every published accuracy is measured; here 28 of 32."""
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(2)) * 255,
        (height, width),
        mode="bicubic",
    )
    image = smooth[0].clamp(0, 255).to(torch.uint8)
    scale = 32 / min(height, width)
    size = (round(width * scale), round(height * scale))
    picture = pillow.to_pil_image(image).resize(size, resample=2)
    expected = pillow.pil_to_tensor(pillow.center_crop(picture, [28, 28]))
    found = CenterCrop(28)(image, random.Random(0))
    assert found.shape == (3, 28, 28)
    assert (found.int() - expected.int()).abs().max() <= 2
    assert math.isclose(found.float().mean(), expected.float().mean(), rel_tol=0.01)
