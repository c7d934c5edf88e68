"""The catalogue: the family's names and paths, one root, helpful errors."""

import pytest

from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog, ModelCatalog
from maskrcnn_benchmark.utils.checkpoint import read_checkpoint

FAMILY_PATHS = {
    "coco_2014_train": ("coco/train2014", "coco/annotations/instances_train2014.json"),
    "coco_2014_valminusminival": ("coco/val2014", "coco/annotations/instances_valminusminival2014.json"),
    "coco_2014_minival": ("coco/val2014", "coco/annotations/instances_minival2014.json"),
    "coco_2017_train": ("coco/train2017", "coco/annotations/instances_train2017.json"),
    "coco_2017_val": ("coco/val2017", "coco/annotations/instances_val2017.json"),
}


@pytest.mark.parametrize("name", FAMILY_PATHS)
@pytest.mark.parametrize("root", [None, "/somewhere/else"])
def test_family_paths_under_the_root(name: str, root: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if root is None:
        monkeypatch.delenv("MASKRCNN_BENCHMARK_DATASETS", raising=False)
    else:
        monkeypatch.setenv("MASKRCNN_BENCHMARK_DATASETS", root)
    images, annotations = FAMILY_PATHS[name]
    entry = DatasetCatalog.get(name)
    assert entry["factory"] == "COCODataset"
    assert entry["args"]["root"] == f"{root or 'datasets'}/{images}"
    assert entry["args"]["ann_file"] == f"{root or 'datasets'}/{annotations}"


def test_uncatalogued_entries_split_at_the_last_at_sign() -> None:
    arguments = DatasetCatalog.get("/my@data/a.json@/my data/images")["args"]
    assert arguments == {"ann_file": "/my@data/a.json", "root": "/my data/images"}


@pytest.mark.parametrize("name", ["a.json@", "@images"])
def test_half_an_entry(name: str) -> None:
    with pytest.raises(ValueError, match=r"write annotations\.json@image_folder"):
        DatasetCatalog.get(name)


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'coco_2014_minval'.*did you mean 'coco_2014_minival'"):
        DatasetCatalog.get("coco_2014_minval")
    with pytest.raises(ValueError, match=r"did you mean 'ImageNetPretrained/MSRA/R-50'"):
        ModelCatalog.get("ImageNetPretrained/MSRA/R50")


def test_known_weights_say_what_to_give_instead() -> None:
    with pytest.raises(ValueError, match=r"R-101\.pkl.*MODEL\.WEIGHT ''"):
        read_checkpoint("catalog://ImageNetPretrained/MSRA/R-101")
