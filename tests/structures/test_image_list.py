"""Batches of images: the family's padding, and what travels with them."""

import json
from pathlib import Path

import pytest
import torch

from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list

CASES = json.loads((Path(__file__).parents[1] / "data" / "fixtures" / "images.json").read_text())[
    "image_list"
]


@pytest.mark.parametrize("case", CASES)
def test_golden_padding(case: dict) -> None:
    if "shapes" in case:
        images = [torch.ones(shape) for shape in case["shapes"]]
    else:
        images = torch.zeros(case.get("tensor_batch") or case["single_tensor"])
    batch = to_image_list(images, case["size_divisible"])
    assert list(batch.tensors.shape) == case.get("batched", case.get("tensor_batch"))
    sizes = case.get("image_sizes_hw", [[40, 50]])
    assert [list(size) for size in batch.image_sizes] == sizes
    assert batch.sizes.tolist() == sizes
    if "sum" in case:
        assert batch.tensors.sum().item() == case["sum"]  # the padding adds nothing


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pixels_keep_their_place_and_the_batch_is_channels_last(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 255, (3, h, w), generator=generator).to(dtype) for h, w in ((9, 5), (4, 8))]
    batch = to_image_list(images, 4)
    assert batch.tensors.dtype == dtype
    assert batch.tensors.is_contiguous(memory_format=torch.channels_last)
    for image, padded in zip(images, batch.tensors, strict=True):
        assert torch.equal(padded[:, : image.shape[1], : image.shape[2]], image)
        assert padded.sum() == image.sum()


def test_a_batch_is_taken_as_it_is() -> None:
    batch = to_image_list(torch.zeros(2, 3, 8, 9))
    assert to_image_list(batch, 32) is batch
    assert batch.to("cpu").image_sizes == batch.image_sizes


@pytest.mark.parametrize("images", [[], [torch.zeros(3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)]])
def test_what_makes_no_batch(images: list) -> None:
    with pytest.raises(ValueError, match="image"):
        to_image_list(images)


def test_sizes_must_fit_the_tensor() -> None:
    with pytest.raises(ValueError, match="2 sizes"):
        ImageList(torch.zeros(1, 3, 4, 4), [(4, 4), (4, 4)])
