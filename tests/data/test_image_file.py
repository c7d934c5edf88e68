"""Decoding: what a file shows is what the model gets, whatever the format; a broken file names itself."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from maskrcnn_benchmark.data.datasets.image_file import read_image
from maskrcnn_benchmark.data.datasets.validation import DatasetError

ORIENTATION = 0x112


def picture() -> Image.Image:
    y, x = np.mgrid[:40, :56]
    return Image.fromarray(np.stack([4 * x, 6 * y, 2 * (x + y)], axis=2).astype(np.uint8))


def encode(image: Image.Image, kind: str, orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    stream = io.BytesIO()
    image.save(stream, format=kind, exif=exif) if orientation is not None else image.save(stream, format=kind)
    return stream.getvalue()


def read(tmp_path, content: bytes) -> np.ndarray:
    path = tmp_path / "picture"
    path.write_bytes(content)
    return read_image(str(path)).permute(1, 2, 0).numpy()[..., ::-1]


def pillow(content: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")).astype(int)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1"])
def test_png_modes(tmp_path, mode: str) -> None:
    content = encode(picture().convert(mode), "PNG")
    assert np.array_equal(read(tmp_path, content), pillow(content))


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "BMP")])
def test_other_formats(tmp_path, mode: str, kind: str) -> None:
    content = encode(picture().convert(mode), kind)
    assert np.abs(read(tmp_path, content) - pillow(content)).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_honoured(tmp_path, orientation: int) -> None:
    content = encode(picture(), "JPEG", orientation)
    found = read(tmp_path, content)
    assert found.shape == ((40, 56, 3) if orientation < 5 else (56, 40, 3))
    assert np.abs(found - pillow(content)).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_file_names_itself(tmp_path, kind: str, share: float) -> None:
    content = encode(picture(), kind)
    path = tmp_path / "broken.jpg"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DatasetError, match=r"broken\.jpg: .*truncated"):
        read_image(str(path))


def test_a_file_that_is_gone_names_itself(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.jpg: cannot be read"):
        read_image(str(tmp_path / "gone.jpg"))


def test_another_size_than_the_annotations_is_named(tmp_path) -> None:
    path = tmp_path / "turned.jpg"
    path.write_bytes(encode(picture(), "JPEG", orientation=6))
    assert read_image(str(path), (40, 56)).shape == (3, 56, 40)
    with pytest.raises(DatasetError, match=r"turned\.jpg: the image is 40 x 56.* 56 x 40 .*EXIF"):
        read_image(str(path), (56, 40))
