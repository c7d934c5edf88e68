"""A file that is there under another spelling is named, or taken where only one reading is possible."""

import logging
import os
import unicodedata
from pathlib import Path

import pytest

from maskrcnn_benchmark.data.datasets.catalogue import DatasetCatalog
from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.validation import DatasetError

NFC, NFD = (unicodedata.normalize(form, "caf\u00e9.png") for form in ("NFC", "NFD"))


def listed_as(files, file_name: str, renamed: str | None = None) -> COCODataset:
    """The dataset with its first image listed by another name, and its file perhaps renamed."""
    image = files.content["images"][0]
    if renamed is not None:
        (files.image_folder / renamed).parent.mkdir(exist_ok=True)
        (files.image_folder / image["file_name"]).rename(files.image_folder / renamed)
    image["file_name"] = file_name
    files.write()
    return COCODataset(str(files.annotation_file), str(files.image_folder), True)


@pytest.mark.parametrize(
    ("file_name", "renamed", "there"),
    [
        ("images\\0.png", None, "0.png"),
        ("images/0.png", None, "0.png"),
        ("/home/me/data/images/0.png", None, "0.png"),
        ("my%20pic.png", "my pic.png", "my pic.png"),
        ("0.PNG", None, "0.png"),
        ("0.jpg", None, "0.png"),
        ("0.png", "part/0.png", "part/0.png"),
    ],
)
def test_the_error_names_the_file_that_is_there(
    write_coco, content, file_name: str, renamed: str | None, there: str
) -> None:
    message = f"image 4: .* does not exist, but the image folder has '{there}'; write file_name '{there}'"
    with pytest.raises(DatasetError, match=message):
        listed_as(write_coco(content), file_name, renamed)


@pytest.mark.parametrize(
    ("file_name", "renamed"),
    [(NFC, NFD), (NFD, NFC), ("part\\0.png", "part/0.png"), (f"a\\{NFC}", f"a/{NFD}")],
)
def test_what_can_be_read_in_one_way_is_taken(
    write_coco, content, caplog, file_name: str, renamed: str
) -> None:
    with caplog.at_level(logging.WARNING, logger="maskrcnn_benchmark.data"):
        dataset = listed_as(write_coco(content), file_name, renamed)
    assert dataset.get_img_info(0)["file_name"] == renamed
    assert dataset.get_image(0).shape == (3, 30, 40)
    assert "1 file names differ from the files' in Unicode form or slashes" in caplog.text


def test_two_files_that_fit_are_not_chosen_from(write_coco, content) -> None:
    files = write_coco(content)
    for name in (NFC, NFD):
        (files.image_folder / name).write_bytes((files.image_folder / "0.png").read_bytes())
    assert listed_as(files, NFC).get_img_info(0)["file_name"] == NFC
    (files.image_folder / "a").mkdir()
    for name in (NFC, NFD):
        (files.image_folder / "a" / name).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"does not exist, but the image folder has 'a/.*\(and 3 more\)"):
        listed_as(files, f"a\\{NFC}")


def test_a_file_that_is_nowhere(write_coco, content) -> None:
    with pytest.raises(DatasetError, match=r"images/gone\.png does not exist; add the file"):
        listed_as(write_coco(content), "gone.png")


def test_any_path_with_an_at_sign_can_be_named(tmp_path: Path) -> None:
    """The @ counts where both sides are there, whatever else holds one."""
    for folder in ("me@host.org drive", "plain", "a.json@b"):
        images = tmp_path / folder / "i@m"
        images.mkdir(parents=True)
        annotations = tmp_path / folder / "x@y.json"
        annotations.write_text("{}")
        found = DatasetCatalog.get(f"{annotations}@{images}")["args"]
        assert found == {"ann_file": str(annotations), "root": str(images)}
        # one side that is there is enough to know the other, which is then told to be missing
        assert DatasetCatalog.get(f"{annotations}@{images}2")["args"]["root"] == f"{images}2"
        assert DatasetCatalog.get(f"{annotations}2@{images}")["args"]["ann_file"] == f"{annotations}2"


def test_home_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MY_DATA", str(tmp_path / "data"))
    found = DatasetCatalog.get("~/a.json@$MY_DATA/images")["args"]
    assert found == {"ann_file": f"{tmp_path}/a.json", "root": f"{tmp_path}/data/images"}
    monkeypatch.chdir(tmp_path)
    os.mkdir("~")
    Path("~/a.json").write_text("{}")
    assert DatasetCatalog.get("~/a.json@images")["args"]["ann_file"] == "~/a.json"
