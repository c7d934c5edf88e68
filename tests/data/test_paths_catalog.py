"""The catalogue: the family's names and paths, one root, helpful errors."""

import pytest

from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog, ModelCatalog

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


def test_weights_have_the_familys_addresses() -> None:
    """One of each form that the family's catalogue builds its addresses by."""
    detectron = "https://dl.fbaipublicfiles.com/detectron"
    for name, address in {
        "ImageNetPretrained/MSRA/R-50": "ImageNetPretrained/MSRA/R-50.pkl",
        "ImageNetPretrained/MSRA/R-50-GN": "ImageNetPretrained/47261647/R-50-GN.pkl",
        "ImageNetPretrained/MSRA/R-101": "ImageNetPretrained/MSRA/R-101.pkl",
        "ImageNetPretrained/MSRA/R-101-GN": "ImageNetPretrained/47592356/R-101-GN.pkl",
        "ImageNetPretrained/FAIR/20171220/X-101-32x8d": "ImageNetPretrained/20171220/X-101-32x8d.pkl",
        "Caffe2Detectron/COCO/35858933/e2e_mask_rcnn_R-50-FPN_1x": (
            "35858933/12_2017_baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml.01_48_14.DzEQe4wC/output/train/"
            "coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/model_final.pkl"
        ),
    }.items():
        assert ModelCatalog.get(name) == f"{detectron}/{address}"


def test_a_file_that_was_never_published_names_its_replacement() -> None:
    with pytest.raises(ValueError, match=r"MRCN-V-39-FPN-2x\.pth.*catalog://VoVNet/MRCN-V-57-FPN-2x-norm"):
        ModelCatalog.get("VoVNet/MRCN-V-57-FPN-2x")
