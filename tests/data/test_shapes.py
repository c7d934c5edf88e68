"""The embedded dataset: sound COCO data, the same from the same seed, whole or not there."""

import json
import os

import numpy as np
import pytest
from pycocotools.coco import COCO

from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data.datasets import COCODataset, DatasetError
from maskrcnn_benchmark.data.datasets.shapes.draw import draw_shapes, main
from maskrcnn_benchmark.data.datasets.shapes.scene import CLASSES


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> str:
    return draw_shapes(str(tmp_path_factory.mktemp("data") / "shapes"), num_train=60, num_val=8)


def files_of(root: str) -> dict[str, bytes]:
    return {
        os.path.relpath(os.path.join(folder, name), root): open(os.path.join(folder, name), "rb").read()
        for folder, _, names in os.walk(root)
        for name in names
    }


def test_pycocotools_reads_masks_that_fit_their_boxes(drawn: str) -> None:
    coco = COCO(f"{drawn}/annotations/shapes_train.json")
    assert len(coco.imgs) == 60
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        bounds = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        assert annotation["bbox"] == bounds
        assert annotation["area"] == mask.sum() >= 40 or annotation["iscrowd"]


def test_what_the_pictures_hold(drawn: str) -> None:
    coco = COCO(f"{drawn}/annotations/shapes_train.json")
    objects = [annotation for annotation in coco.anns.values() if not annotation["iscrowd"]]
    areas = np.array([annotation["area"] for annotation in objects])
    assert {annotation["category_id"] for annotation in objects} == {1, 2, 3}
    assert any(annotation["iscrowd"] for annotation in coco.anns.values())
    assert any(not coco.getAnnIds(image_id) for image_id in coco.imgs)
    assert (areas < 32**2).any() and (areas >= 96**2).any() and ((areas >= 32**2) & (areas < 96**2)).any()
    # of objects of one picture none covers another one's pixels: the masks are what is visible
    for image_id in coco.imgs:
        masks = [coco.annToMask(annotation) for annotation in coco.loadAnns(coco.getAnnIds(image_id))]
        assert not masks or np.sum(masks, axis=0).max() == 1


def test_the_package_reads_it(drawn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_BENCHMARK_DATASETS", os.path.dirname(drawn))
    arguments = DatasetCatalog.get("shapes_val")["args"]
    dataset = COCODataset(arguments["ann_file"], arguments["root"], remove_images_without_annotations=False)
    assert dataset.class_names[1:] == CLASSES
    assert len(dataset) == 8
    for index in range(8):
        image, target, _ = dataset[index]
        assert target.size == (image.shape[2], image.shape[1])
        assert min(target.size) == 128


def test_pictures_depend_on_seed_and_number_alone(drawn: str, tmp_path) -> None:
    again = files_of(draw_shapes(str(tmp_path / "again"), num_train=5, num_val=8))
    other = files_of(draw_shapes(str(tmp_path / "other"), num_train=5, num_val=8, seed=1))
    first = files_of(drawn)
    for name in (f"train/{k:06d}.jpg" for k in range(1, 6)):
        assert again[name] == first[name]
        assert other[name] != first[name]
    assert again["annotations/shapes_val.json"] == first["annotations/shapes_val.json"]
    assert first["train/000001.jpg"] != first["val/000001.jpg"]


def test_drawn_once_for_the_same_parameters(tmp_path) -> None:
    root = draw_shapes(str(tmp_path / "shapes"), num_train=2, num_val=1)
    os.utime(f"{root}/train/000001.jpg", (1, 1))
    draw_shapes(root, num_train=2, num_val=1)
    assert os.path.getmtime(f"{root}/train/000001.jpg") == 1
    draw_shapes(root, num_train=3, num_val=1)
    assert len(os.listdir(f"{root}/train")) == 3
    assert os.listdir(tmp_path) == ["shapes"]  # nothing unfinished is left


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cv2.imwrite", interrupt)
        with pytest.raises(KeyboardInterrupt):
            draw_shapes(str(tmp_path / "shapes"), num_train=2, num_val=1)
    assert os.listdir(tmp_path) == []


def test_a_folder_with_something_else_is_not_touched(tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds something else"):
        draw_shapes(str(tmp_path), num_train=1, num_val=1)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_command_line(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--root", f"{tmp_path}/shapes", "--num-train", "1", "--num-val", "1", "--size", "64"])
    assert "1 images to train on" in capsys.readouterr().out
    content = json.loads((tmp_path / "shapes/annotations/shapes_train.json").read_text())
    assert min(content["images"][0]["width"], content["images"][0]["height"]) == 64
