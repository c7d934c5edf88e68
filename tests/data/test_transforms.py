"""Image changes: Pillow's resize, the family's sizes and flips, torchvision's colours, and repeatability."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as pillow_colour

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.data.transforms import ColorJitter, Compose, RandomFlip, Resize, build_transforms
from maskrcnn_benchmark.data.transforms.transforms import resized_hw
from maskrcnn_benchmark.structures.bounding_box import FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM, BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list

FIXTURES = Path(__file__).parent / "fixtures"
GOLDEN = json.loads((FIXTURES / "images.json").read_text())
PIXELS = np.load(FIXTURES / "transforms.npz")


def as_image(hwc_rgb: np.ndarray) -> torch.Tensor:
    """[3, H, W] in BGR, laid out pixel by pixel, as decoding gives it."""
    return torch.from_numpy(np.ascontiguousarray(hwc_rgb[..., ::-1])).permute(2, 0, 1)


def as_rgb(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()[..., ::-1]


def no_boxes(image: torch.Tensor) -> BoxList:
    return BoxList([], (image.shape[2], image.shape[1]))


@pytest.mark.parametrize("case", GOLDEN["resize_get_size"], ids=lambda case: str(case["min_size"]))
def test_golden_sizes(case: dict) -> None:
    for width, height, out_width, out_height in case["rows_w_h_outw_outh"]:
        found = resized_hw(width, height, case["min_size"], case["max_size"])
        assert found == (out_height, out_width), (width, height)


@pytest.mark.parametrize(
    ("size_wh", "found_wh"),
    [
        ((2667, 1), (1333, 1)),
        ((1, 5000), (1, 1333)),
        ((4000, 2), (1333, 1)),
        ((1500, 1), (1333, 1)),  # its short side fits as it is
        ((1, 1), (800, 800)),
        ((11, 1), (1331, 121)),
    ],
)
def test_strips_keep_a_pixel_and_the_limit(size_wh: tuple[int, int], found_wh: tuple[int, int]) -> None:
    assert resized_hw(*size_wh, 800, 1333) == found_wh[::-1]


def test_no_shape_loses_a_side_or_passes_the_limit() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        width, height, limit = (round(10 ** rng.uniform(0, high)) for high in (5, 5, 3.5))
        sides = resized_hw(width, height, max(1, limit // 2), limit)
        assert min(sides) >= 1
        longest = max(width, height) / min(width, height)
        assert max(sides) <= limit + (longest / 2 if longest <= 5 else 0)
        assert (sides[0] > sides[1]) <= (height > width)


def test_a_strip_goes_through_with_its_boxes() -> None:
    image = torch.zeros(3, 2, 3000, dtype=torch.uint8)
    target = BoxList([[0, 0, 2000, 1]], (3000, 2))
    resized, target = Resize(64, 96)(image, target, random.Random(0))
    assert resized.shape == (3, 1, 96) and target.size == (96, 1)
    assert torch.isfinite(target.bbox).all()


def test_an_image_without_pixels_is_named() -> None:
    with pytest.raises(ValueError, match="an image of 5 x 0 has no pixels"):
        resized_hw(5, 0, 800, 1333)
    with pytest.raises(ValueError, match=r"image \(3, 0, 5\) has no pixels"):
        to_image_list([torch.zeros(3, 0, 5)])


@pytest.mark.parametrize("short", [25, 80])
def test_resize_is_pillows(short: int) -> None:
    image = as_image(PIXELS["input_rgb"])
    resized, _ = Resize(short, 1000)(image, no_boxes(image), random.Random(0))
    difference = np.abs(as_rgb(resized).astype(int) - PIXELS[f"resized_{short}"])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02
    assert resized.stride() == (1, 3 * resized.shape[2], 3)  # still pixel by pixel


def test_golden_boxes_and_flips() -> None:
    image, case = as_image(PIXELS["input_rgb"]), GOLDEN["resize_25"]
    target = BoxList([case["box_in"]], tuple(case["input_wh"]))
    resized, target = Resize(25, 1000)(image, target, random.Random(0))
    assert list(target.size) == case["output_wh"]
    np.testing.assert_allclose(target.bbox, case["box_out"], rtol=1e-6)
    for method, pixels, box in (
        (FLIP_LEFT_RIGHT, "hflip", "hflip_box"),
        (FLIP_TOP_BOTTOM, "vflip", "vflip_box"),
    ):
        flipped, boxes = RandomFlip(1.0, method)(resized, target, random.Random(0))
        assert np.abs(as_rgb(flipped).astype(int) - PIXELS[pixels]).max() <= 1
        np.testing.assert_allclose(boxes.bbox, GOLDEN[box], rtol=1e-6)


def test_nothing_moves_where_the_size_fits() -> None:
    image = as_image(PIXELS["input_rgb"])
    resized, _ = Resize(40, 100)(image, no_boxes(image), random.Random(0))
    assert resized is image


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colours_change_as_on_pillow_images(name: str) -> None:
    strengths = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, name: 0.4}
    image = as_image(PIXELS["input_rgb"])
    changed, _ = ColorJitter(**strengths)(image, no_boxes(image), random.Random(3))
    draw = random.Random(3)
    draw.shuffle([name])
    factor = draw.uniform(-0.4, 0.4) if name == "hue" else draw.uniform(0.6, 1.4)
    expected = getattr(pillow_colour, f"adjust_{name}")(Image.fromarray(PIXELS["input_rgb"]), factor)
    difference = np.abs(as_rgb(changed).astype(int) - np.asarray(expected))
    # Pillow turns colours in 256 steps of hue, torchvision's tensors in degrees
    assert difference.mean() < (3.0 if name == "hue" else 1.0)
    assert np.abs(as_rgb(changed).astype(int) - PIXELS["input_rgb"]).mean() > 5


def test_strengths_are_checked() -> None:
    with pytest.raises(ValueError, match=r"INPUT\.HUE .* 0\.7"):
        ColorJitter(0, 0, 0, 0.7)


def test_flips_happen_as_often_as_asked() -> None:
    image = as_image(PIXELS["input_rgb"])
    flip = RandomFlip(0.3, FLIP_LEFT_RIGHT)
    rng = random.Random(0)
    flipped = sum(flip(image, no_boxes(image), rng)[0] is not image for _ in range(2000))
    assert 500 < flipped < 700
    assert RandomFlip(0.0, FLIP_LEFT_RIGHT)(image, no_boxes(image), rng)[0] is image


def config(*opts: str):
    return load_config(None, list(opts))


def test_config_decides_what_is_done() -> None:
    def names(compose: Compose) -> list[str]:
        return [type(step).__name__ for step in compose.transforms]

    assert names(build_transforms(config(), is_train=False)) == ["Resize"]
    assert names(build_transforms(config())) == ["Resize", "RandomFlip"]
    full = build_transforms(config("INPUT.HUE", "0.1", "INPUT.VERTICAL_FLIP_PROB_TRAIN", "0.5"))
    assert names(full) == ["ColorJitter", "Resize", "RandomFlip", "RandomFlip"]


def test_a_sample_is_a_function_of_its_generator() -> None:
    steps = build_transforms(
        config("INPUT.MIN_SIZE_TRAIN", "(20, 30, 50)", "INPUT.BRIGHTNESS", "0.5", "INPUT.CONTRAST", "0.5")
    )
    image = as_image(PIXELS["input_rgb"])
    results = [steps(image, no_boxes(image), random.Random(seed))[0] for seed in (1, 1, 2, 3, 4)]
    assert torch.equal(results[0], results[1])
    assert len({tuple(result.shape) for result in results}) > 1
