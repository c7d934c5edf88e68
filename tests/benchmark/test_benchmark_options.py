"""What a user may ask for, and the words for what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark.tiny_case import tiny_config, tiny_settings

from maskrcnn_benchmark.benchmark.measure.protocol import describe_protocol
from maskrcnn_benchmark.benchmark.row import OURS
from maskrcnn_benchmark.benchmark.run.options import Asked, find_weights, make_settings
from maskrcnn_benchmark.benchmark.run.plan import plan_rows
from maskrcnn_benchmark.benchmark.run.selection import CONFIGS, TABLE_ROWS, RowSpec, find_rows

PUBLISHED = [
    *(("R-50-FPN", "Faster R-CNN"), ("R-101-FPN", "Faster R-CNN"), ("V-39-FPN", "Faster R-CNN")),
    *(("V-57-FPN", "Faster R-CNN"), ("R-50-FPN", "Mask R-CNN"), ("R-101-FPN", "Mask R-CNN")),
    *(("V-39-FPN", "Mask R-CNN"), ("V-57-FPN", "Mask R-CNN")),
]


def test_the_table_is_measured_where_nothing_is_asked_for() -> None:
    specs = find_rows([])
    assert [spec.name for spec in specs] == list(TABLE_ROWS)
    plan = plan_rows(specs, tiny_settings(), "cpu", {})
    assert [(row.backbone, row.detector) for row in plan] == PUBLISHED
    assert {row.implementation for row in plan} == {OURS}


def test_rows_by_name_path_and_pattern() -> None:
    by_name = find_rows(["mask-V-39"])
    path = CONFIGS / "vovnet" / "e2e_mask_rcnn_V_39_FPN_2x.yaml"
    assert find_rows([str(path)]) == by_name == find_rows([str(path), "mask-V-39"])
    assert by_name[0].shown_config == "configs/vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml"
    names = {spec.name for spec in find_rows([str(CONFIGS / "vovnet" / "e2e_mask*_2x.yaml")])}
    assert names >= {"mask-V-39", "mask-V-57"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("mask-V-93x", "nearest: mask-V-"),
        ("e2e_faster_rcnn_R_51_FPN_2x", "nearest: faster-R-50"),
        ("configs/none/*.yaml", "neither a row nor a config file"),
    ],
)
def test_unknown_rows_name_the_nearest(asked: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_rows([asked])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(steps=0), "--steps 0 must be 1 or more"),
        (Asked(images=-3), "--images -3 must be 1 or more"),
        (Asked(batch_sizes=(4, 0)), "--batch-sizes 0 must be 1 or more"),
        (Asked(dtypes=("int8",)), "--dtypes 'int8' is unknown; allowed are float32"),
        (Asked(dataset="coco_2017_vla"), "did you mean 'coco_2017_val'"),
    ],
)
def test_wrong_wishes(asked: Asked, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_settings(asked, "cpu")


def test_a_dataset_that_is_not_there_stops_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKRCNN_BENCHMARK_DATASETS", str(tmp_path))
    settings, missing = make_settings(Asked(dataset="coco_2017_val"), "cpu")
    assert settings.dataset is None
    assert settings.sizes_from == "COCO statistics"
    assert "instances_val2017.json" in missing
    assert "AP needs a dataset (--dataset) and a weights file" in missing
    plan = plan_rows([RowSpec("tiny", tiny_config(tmp_path))], settings, "cpu", {}, missing)
    assert plan[0].notes == (missing,)


def test_defaults_depend_on_the_device_and_on_quick() -> None:
    full, _ = make_settings(Asked(), "cuda")
    assert (full.steps, full.images, full.short_side, full.long_side) == (20, 100, 800, 1333)
    assert full.dtypes == ("float32", "bfloat16")
    quick, _ = make_settings(Asked(quick=True, steps=7), "cpu")
    assert (quick.steps, quick.quick, quick.dtypes) == (7, True, ("float32",))
    assert quick.long_side < full.short_side


def test_weights_are_found_by_the_row_or_its_config(tmp_path: Path) -> None:
    specs = [RowSpec("mask-V-39", "x/e2e_mask.yaml"), RowSpec("faster-R-50", "x/e2e_faster.yaml")]
    with pytest.raises(ValueError, match=r"has a file for none of the rows; name it .* as mask-V-39\.pth"):
        find_weights(str(tmp_path), specs)
    (tmp_path / "e2e_faster.safetensors").touch()
    (tmp_path / "mask-V-39.pth").touch()
    assert find_weights(str(tmp_path), specs) == {
        "mask-V-39": str(tmp_path / "mask-V-39.pth"),
        "faster-R-50": str(tmp_path / "e2e_faster.safetensors"),
    }
    assert find_weights(None, specs) == {}
    with pytest.raises(ValueError, match="is no folder"):
        find_weights(str(tmp_path / "absent"), specs)


def test_peers_stand_beside_the_rows_they_have() -> None:
    settings, _ = make_settings(Asked(peers=("torchvision",)), "cpu")
    plan = plan_rows(find_rows(["faster-R-50", "mask-R-50", "mask-V-39"]), settings, "cpu", {})
    assert [row.key[:2] for row in plan] == [
        *(("faster-R-50", OURS), ("mask-R-50", OURS), ("mask-V-39", OURS)),
        *(("faster-R-50", "torchvision"), ("mask-R-50", "torchvision")),
    ]
    assert plan[-1].shown_config == "torchvision.models.detection.maskrcnn_resnet50_fpn"
    settings, _ = make_settings(Asked(peers=("detectron9",)), "cpu")
    with pytest.raises(ValueError, match="--peers 'detectron9' is unknown; there are: torchvision"):
        plan_rows([], settings, "cpu", {})


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_every_measure_has_its_sentence(device_type: str) -> None:
    protocol = describe_protocol(tiny_settings(), device_type)
    assert set(protocol) == {
        *("sizes", "load", "training_memory", "training_throughput", "inference", "split"),
        *("throughput", "macs", "ap"),
        *(["tensor_memory"] if device_type == "cpu" else []),
    }
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in protocol.values())
    assert ("not a GPU's number" in protocol["training_memory"]) == (device_type == "cpu")
