"""Wrong sizes, dead links and empty files are found by the headers, before the first iteration."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.image_headers import header_fits
from maskrcnn_benchmark.data.datasets.validation import DatasetError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MASKRCNN_BENCHMARK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def encoded(kind: str, orientation: int | None = None, **options: object) -> io.BytesIO:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 56, 3)).astype(np.uint8)
    stream, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[0x112] = orientation
        options["exif"] = exif
    Image.fromarray(pixels).save(stream, kind, **options)
    stream.seek(0)
    return stream


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"icc_profile": b"x" * 70000, "comment": b"y" * 300}),
    ],
)
def test_sizes_in_headers(kind: str, options: dict) -> None:
    assert header_fits(encoded(kind, **options), (56, 40))
    assert not header_fits(encoded(kind, **options), (40, 56))
    assert not header_fits(encoded(kind, **options), (56, 41))


def test_what_exif_may_turn_and_other_formats() -> None:
    assert header_fits(encoded("JPEG", orientation=6), (40, 56))
    assert not header_fits(encoded("JPEG", orientation=6), (40, 57))
    assert header_fits(encoded("BMP"), (1, 1))
    assert not header_fits(io.BytesIO(b""), (1, 1))
    assert not header_fits(io.BytesIO(encoded("JPEG").read()[:30]), (56, 40))


def test_faults_are_told_together(write_coco, content) -> None:
    files = write_coco(content)
    pictures = [files.image_folder / image["file_name"] for image in content["images"]]
    content["images"][0]["width"], content["images"][0]["height"] = 30, 40
    files.write()
    pictures[2].unlink()
    pictures[2].symlink_to("/nowhere/x.png")
    pictures[3].write_bytes(b"")
    with pytest.raises(DatasetError) as raised:
        COCODataset(str(files.annotation_file), str(files.image_folder), True)
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    assert "image 4: " in lines[0] and "the image is 40 x 30, its annotations are for 30 x 40" in lines[0]
    assert "image 24: " in lines[1] and "it is a link to /nowhere/x.png" in lines[1]
    assert "image 34: " in lines[2] and "not an image, or truncated (0 bytes)" in lines[2]


def test_a_sound_dataset_is_looked_at_once(write_coco, content, cache: Path) -> None:
    files = write_coco(content)
    dataset = (str(files.annotation_file), str(files.image_folder), True)
    COCODataset(*dataset)
    (note,) = (cache / "image_headers").iterdir()
    picture = files.image_folder / "1.png"
    picture.write_bytes(b"")  # in place, which the folder does not show: met when it is read
    COCODataset(*dataset)
    picture.unlink()
    picture.symlink_to("/nowhere")
    with pytest.raises(DatasetError, match="link to /nowhere"):
        COCODataset(*dataset)
    note.unlink()


def test_images_that_are_not_used_are_not_looked_at(write_coco, content) -> None:
    files = write_coco({**content, "annotations": content["annotations"][:4]})
    (files.image_folder / "4.png").write_bytes(b"")
    assert len(COCODataset(str(files.annotation_file), str(files.image_folder), True)) == 2


def test_a_cache_that_cannot_be_written_is_no_fault(write_coco, content, monkeypatch) -> None:
    monkeypatch.setenv("MASKRCNN_BENCHMARK_CACHE", "/dev/null/cache")
    files = write_coco(content)
    assert len(COCODataset(str(files.annotation_file), str(files.image_folder), True)) == 5
