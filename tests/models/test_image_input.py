"""What a loaded detector takes for an image, and what it refuses: where it enters, with what to give."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from weights.small_detector import small_config, small_detector

from maskrcnn_benchmark.models import load_detector
from maskrcnn_benchmark.models.image_input import as_pixels
from maskrcnn_benchmark.models.loaded_detector import LoadedDetector
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
RGB = np.ascontiguousarray(PIXELS[:, :, ::-1])
EXPECTED = torch.from_numpy(PIXELS).movedim(-1, 0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    path = DetectronCheckpointer(small_config(4), small_detector(), save_dir=folder).publish("model_final")
    assert path is not None
    return path


@pytest.fixture(scope="module")
def detector(checkpoint: Path) -> LoadedDetector:
    return load_detector(checkpoint, "cpu")


def with_orientation(image: Image.Image, orientation: int) -> io.BytesIO:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "image",
    [
        PIXELS,
        np.flip(RGB, 2),
        EXPECTED,
        Image.fromarray(RGB),
        Image.fromarray(np.dstack([RGB, RGB[:, :, 0]])),
    ],
    ids=["array", "view", "tensor", "PIL", "PIL RGBA"],
)
def test_taken(image: Any) -> None:
    assert torch.equal(as_pixels(image), EXPECTED)


def test_pil_images_come_as_files_do(tmp_path: Path) -> None:
    """Grey, palette and turned images: what reading their file gives, by another library."""
    picture = Image.fromarray(RGB)
    for name, image in {"grey": picture.convert("L"), "palette": picture.convert("P")}.items():
        image.save(tmp_path / f"{name}.png")
        assert torch.equal(as_pixels(image), as_pixels(tmp_path / f"{name}.png"))
    turned = Image.open(with_orientation(picture, 6))
    assert torch.equal(as_pixels(turned), EXPECTED.rot90(-1, (1, 2)))


def test_a_detector_sees_the_same_in_every_form(detector: LoadedDetector, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "image.png"), PIXELS)
    forms = [tmp_path / "image.png", str(tmp_path / "image.png"), PIXELS, EXPECTED, Image.fromarray(RGB)]
    first, *others = detector(forms)
    assert len(first) > 0
    for boxes in others:
        assert torch.equal(boxes.bbox, first.bbox)
        assert torch.equal(boxes.get_field("scores"), first.get_field("scores"))
    assert torch.equal(detector(Image.fromarray(RGB))[0].bbox, first.bbox)
    assert detector([]) == []


def truncated() -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "PNG")
    return Image.open(io.BytesIO(file.getvalue()[:500]))


REFUSED: dict[str, tuple[Any, str]] = {
    "None": (
        None,
        r"None \(what cv2\.imread gives for a file that it cannot read\) is no image: give an array",
    ),
    "bytes": (b"\x89PNG", r"bytes \(encoded, or a file: open it with PIL\.Image\.open\)"),
    "file": (io.BytesIO(b""), r"BytesIO \(encoded, or a file"),
    "generator": ((name for name in ["a.png"]), r"generator \(several images are a list: list\(images\)\)"),
    "dictionary": ({"image": PIXELS}, "an object of type dict is no image"),
    "number": (3, "an object of type int is no image"),
    "grey": (PIXELS[:, :, 0], r"shape \(60, 80\) and dtype uint8: give .*np\.repeat"),
    "RGBA": (np.dstack([PIXELS, PIXELS[:, :, 0]]), r"\(60, 80, 4\).*image\[:, :, :3\]"),
    "channels first": (PIXELS.transpose(2, 0, 1), r"\(3, 60, 80\).*image\.transpose\(1, 2, 0\)"),
    "batch": (PIXELS[None], r"\(1, 60, 80, 3\).*list\(images\)"),
    "float": (PIXELS / 255, r"dtype float64.*whole numbers of 0\.\.255"),
    "16 bits": (PIXELS.astype(np.uint16), "dtype uint16"),
    "empty": (PIXELS[:0], r"\(0, 80, 3\).*no pixels"),
    "two channels": (PIXELS[:, :, :2], r"\(60, 80, 2\).*three channels"),
    "words": (np.array(["a.png"]), r"shape \(1,\) and dtype <U5"),
    "tensor [H, W, 3]": (torch.from_numpy(PIXELS), r"\(60, 80, 3\).*image\.permute\(2, 0, 1\)"),
    "tensor RGBA": (torch.zeros(4, 6, 8, dtype=torch.uint8), r"image\[:3\]"),
    "tensor grey": (torch.zeros(6, 8, dtype=torch.uint8), r"image\.expand\(3, -1, -1\)"),
    "tensor batch": (EXPECTED[None], r"list\(images\)"),
    "tensor float": (EXPECTED / 255, r"dtype torch\.float32.*whole numbers of 0\.\.255"),
    "tensor empty": (EXPECTED[:, :0], "no pixels"),
    "PIL 16 bits": (
        Image.fromarray(PIXELS[:, :, 0].astype(np.uint16)),
        r"mode I;16, not of 8 bits a channel",
    ),
    "PIL float": (Image.fromarray(PIXELS[:, :, 0].astype(np.float32)), "mode F, not of 8 bits a channel"),
    "PIL truncated": (truncated(), "cannot be decoded"),
    "PIL empty": (Image.new("RGB", (0, 4)), "no pixels"),
    "no file": ("nowhere.png", r"nowhere\.png: cannot be read"),
    "a folder": (Path("/"), "cannot be read"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_refused_where_it_enters(detector: LoadedDetector, key: str) -> None:
    image, words = REFUSED[key]
    with pytest.raises(ValueError, match=words) as caught:
        detector(image)
    assert "\n" not in str(caught.value)
    with pytest.raises(
        ValueError, match=rf"images\[1\]: .*{words}" if key != "generator" else r"images\[1\]"
    ):
        detector([PIXELS, image])


def test_options_as_a_dictionary_or_a_list(checkpoint: Path) -> None:
    as_words = load_detector(checkpoint, "cpu", ["MODEL.ROI_HEADS.SCORE_THRESH", "0.3"])
    as_values = load_detector(checkpoint, "cpu", {"MODEL.ROI_HEADS.SCORE_THRESH": 0.3})
    assert as_words.config == as_values.config
    assert as_values.config.MODEL.ROI_HEADS.SCORE_THRESH == 0.3
    for options in ("MODEL.DEVICE", 3, {"a"}):
        with pytest.raises(ValueError, match=r"options = .* a dictionary of config keys and values"):
            load_detector(checkpoint, "cpu", options)  # type: ignore[arg-type]


def test_devices(checkpoint: Path) -> None:
    for device in (torch.device("cpu"), torch.device("cpu", 0), "cpu"):
        assert load_detector(checkpoint, device).config.MODEL.DEVICE == "cpu"
    for wrong in (None, 0):
        with pytest.raises(ValueError, match=r"device = .*give 'auto', 'cpu'"):
            load_detector(checkpoint, wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"MODEL\.DEVICE"):
        load_detector(checkpoint, torch.device("mps"))
