"""Pixels of more than 8 bits fill 0..255 by their true range, in every format, and floats are called that."""

import io
import logging
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from maskrcnn_benchmark.config import ConfigError, load_config
from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.image_file import read_image
from maskrcnn_benchmark.data.datasets.validation import DatasetError


def values_up_to(bits: int, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(bits)
    values = rng.integers(0, 2**bits, (12, 17, channels)).astype(np.uint16)
    values[0, 0], values[0, 1] = 0, 2**bits - 1
    return values


def read(path: Path, **options: int) -> np.ndarray:
    return read_image(str(path), **options).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        *((kind, bits) for kind in ("png", "tif") for bits in (8, 10, 12, 14, 16)),
        *(("pgm", bits) for bits in (10, 12, 14, 16)),
    ],
)
def test_the_upper_8_of_the_bits_in_use(tmp_path: Path, bits: int, kind: str, channels: int) -> None:
    values = values_up_to(bits, channels)
    path = tmp_path / f"deep.{'ppm' if kind == 'pgm' and channels == 3 else kind}"
    assert cv2.imwrite(str(path), values)
    if kind == "pgm":  # whose own largest value says 16 bits
        header, rest = path.read_bytes().split(b"65535", 1)
        path.write_bytes(header + str(2**bits - 1).encode() + rest)
    found = read(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.broadcast_to(values // 2 ** (bits - 8), found.shape))


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_files_of_8_bits_are_what_they_were(tmp_path: Path, extension: str) -> None:
    values = values_up_to(8, 3).astype(np.uint8)
    cv2.imwrite(str(tmp_path / f"a.{extension}"), values)
    np.testing.assert_array_equal(read(tmp_path / f"a.{extension}"), values)


def test_a_fixed_number_of_bits_counts_for_every_image(tmp_path: Path) -> None:
    for bits in (9, 12, 16):
        cv2.imwrite(str(tmp_path / "a.png"), values_up_to(bits))
        expected = np.minimum(values_up_to(bits).astype(int), 4095) // 16
        np.testing.assert_array_equal(read(tmp_path / "a.png", pixel_bits=12)[:, :, :1], expected)
    with pytest.raises(ConfigError, match=r"INPUT\.PIXEL_BITS = 7 must be 8 to 16, or 0"):
        load_config(None, ["INPUT.PIXEL_BITS", "7"])


def test_what_the_file_says_comes_first(tmp_path: Path) -> None:
    """A dark image of 16 bits stays dark where its file says that it has 16."""
    dark = values_up_to(9)[:, :, 0]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[281] = 65535
    tags.tagtype[281] = 3
    Image.fromarray(dark).save(tmp_path / "a.tif", tiffinfo=tags)
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[:, :, 0], dark // 256)
    tags[281] = 4095
    Image.fromarray(dark).save(tmp_path / "a.tif", tiffinfo=tags)
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[:, :, 0], dark // 16)
    png = cv2.imencode(".png", dark)[1].tobytes()
    chunk = b"sBIT\x0c"
    inserted = struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(png[:33] + inserted + png[33:])
    np.testing.assert_array_equal(read(tmp_path / "a.png")[:, :, 0], dark // 256)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_of_0_to_1_and_of_0_to_255(tmp_path: Path, dtype: type, channels: int) -> None:
    values = values_up_to(8, channels)
    path = str(tmp_path / "f.tif")
    cv2.imwrite(path, (values / 255).astype(dtype))
    np.testing.assert_array_equal(read(Path(path)), np.broadcast_to(values, (12, 17, 3)))
    cv2.imwrite(path, values.astype(dtype))
    np.testing.assert_array_equal(read(Path(path)), np.broadcast_to(values, (12, 17, 3)))


@pytest.mark.parametrize("wrong", [-1.0, 4095.0, float("nan")])
def test_other_floats_are_refused_for_what_they_are(tmp_path: Path, wrong: float) -> None:
    values = np.full((8, 9), 0.5, np.float32)
    values[3, 3] = wrong
    cv2.imwrite(str(tmp_path / "f.tif"), values)
    with pytest.raises(DatasetError, match=r"f\.tif: a float image with values from .* to .*; .* 0 to 1"):
        read(tmp_path / "f.tif")


def test_integers_of_32_bits(tmp_path: Path) -> None:
    values = values_up_to(12)[:, :, 0]
    stream = io.BytesIO()
    Image.fromarray(values.astype(np.int32)).save(stream, "TIFF")
    (tmp_path / "i.tif").write_bytes(stream.getvalue())
    np.testing.assert_array_equal(read(tmp_path / "i.tif")[:, :, 1], values // 16)


def test_a_dataset_says_what_became_of_its_deep_images(write_coco, content, caplog) -> None:
    files = write_coco(content)
    for image in content["images"]:
        pixels = np.full((image["height"], image["width"]), 3000, np.uint16)
        cv2.imwrite(str(files.image_folder / image["file_name"]), pixels)
    for bits, words in (
        (0, "png uses 12 bits; the upper 8"),
        (14, "the upper 8 of INPUT.PIXEL_BITS 14 bits"),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="maskrcnn_benchmark.data"):
            dataset = COCODataset(str(files.annotation_file), str(files.image_folder), True, pixel_bits=bits)
        assert words in caplog.text
        assert set(dataset.get_image(0).unique().tolist()) == {3000 >> ((bits or 12) - 8)}
