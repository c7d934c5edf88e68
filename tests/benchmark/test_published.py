"""The published rows say what their tables say, and a mistake in the data is found."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_benchmark.benchmark.published import (
    PUBLISHED_FILE,
    PublishedRow,
    baseline_of,
    find_published,
    parse_published,
    published_rows,
)
from maskrcnn_benchmark.benchmark.row import FASTER, MASK

ROOT = Path(__file__).parents[2]
# The two VoVNet tables as their READMEs print them, apart from the data file.
VOVNET_TABLES = """
R-50|Faster|3.6|78|37.5/21.3/40.3/49.5|-
R-101|Faster|4.7|97|39.6/22.8/43.2/51.9|-
V-39|Faster|3.9|78|39.8/23.7/42.6/51.5|-
V-57|Faster|4.4|87|40.8/24.8/43.8/52.4|-
V-75|Faster|5.3|96|41.2/24.1/44.3/53.0|-
V-93|Faster|6.1|110|41.8/24.8/45.1/53.8|-
R-50|Mask|3.6|83|38.6/22.1/41.3/51.4|34.9/16.0/37.3/52.2
R-101|Mask|4.7|102|40.8/23.2/44.0/53.9|36.7/16.7/39.4/54.3
V-39|Mask|4.0|81|41.0/24.6/43.9/53.1|36.7/17.9/39.3/53.0
V-57|Mask|4.5|90|42.0/25.1/44.9/53.8|37.5/18.3/39.8/54.3
V-75|Mask|5.4|106|42.4/26.0/45.5/54.8|37.7/18.9/40.4/54.9
V-93|Mask|6.7|114|42.7/24.9/45.8/55.3|38.0/17.7/40.9/55.2
"""
# body, schedule, memory, images per second, AP
MMDETECTION_TABLE = [
    ("R-50", "1x", 3.8, None, 37.8),
    ("R-50", "1x", 4.0, 21.4, 37.4),
    ("R-50", "2x", None, None, 38.4),
    ("R-101", "1x", 5.7, None, 39.8),
    ("R-101", "1x", 6.0, 15.6, 39.4),
    ("R-101", "2x", None, None, 39.8),
    ("X-101-32x4d", "1x", 7.2, 13.8, 41.2),
    ("X-101-32x4d", "2x", None, None, 41.2),
    ("X-101-64x4d", "1x", 10.3, 9.4, 42.1),
    ("X-101-64x4d", "2x", None, None, 41.6),
    ("R-50", "1x", None, None, 37.4),
    ("R-50", "1x", None, None, 37.9),
    ("R-50", "1x", None, None, 37.6),
    ("R-50", "1x", None, None, 37.4),
    ("R-50", "2x", 4.3, None, 39.7),
    ("R-50", "3x", 4.3, None, 40.2),
]


def printed(row: PublishedRow) -> str:
    def areas(ap: Any) -> str:
        return "-" if ap is None else "/".join(f"{value:.1f}" for value in ap)

    detector = {FASTER: "Faster", MASK: "Mask"}[row.detector]
    return (
        f"{row.body}|{detector}|{row.memory_gb}|{row.inference_ms:g}|{areas(row.box_ap)}|{areas(row.mask_ap)}"
    )


def test_the_vovnet_tables() -> None:
    rows = [row for row in published_rows() if row.source.key.startswith("vovnet")]
    assert [printed(row) for row in rows] == VOVNET_TABLES.split()
    successor = {row.body for row in rows if row.source.key == "vovnet_detectron"}
    assert successor == {"V-75", "V-93"}


def test_the_mmdetection_table() -> None:
    rows = [row for row in published_rows() if row.source.key == "mmdetection"]
    found = [(row.body, row.schedule, row.memory_gb, row.inference_fps, row.box_ap.ap) for row in rows]
    assert found == MMDETECTION_TABLE
    assert {row.detector for row in rows} == {FASTER}
    losses = [(row.note, row.box_ap.ap) for row in rows if "loss" in row.note]
    assert [(note.split(", ")[1], ap) for note, ap in losses] == [
        *(("L1 loss", 37.4), ("IoU loss", 37.9), ("GIoU loss", 37.6), ("bounded IoU loss", 37.4)),
    ]


def test_every_row_has_its_origin() -> None:
    for row in published_rows():
        assert row.source.hardware and row.source.versions and row.source.url.startswith("https://")
    fork = published_rows()[0].source
    assert "TITAN Xp" in fork.hardware and "2 images" in fork.hardware
    assert all(part in fork.versions for part in ("PyTorch 1.1", "CUDA 9", "cuDNN 7.2"))


def test_a_config_finds_its_row_by_its_whole_path() -> None:
    found = find_published("/somewhere/configs/vovnet/e2e_mask_rcnn_V_57_FPN_2x.yaml")
    assert found is not None and (found.body, found.detector, found.memory_gb) == ("V-57", MASK, 4.5)
    assert find_published("configs/e2e_mask_rcnn_R_50_FPN_1x.yaml") is None, "another schedule, another row"
    assert find_published("my_e2e_faster_rcnn_R_50_FPN_2x.yaml") is None
    assert find_published("e2e_faster_rcnn_R_50_FPN_2x.yaml") is None
    assert find_published("") is None


def test_the_configs_are_there_and_build_the_body() -> None:
    with_config = [row for row in published_rows() if row.config]
    assert len(with_config) == 27, "all but the row of the L1 loss, which is that of the plain config"
    for row in with_config:
        text = (ROOT / row.config).read_text(encoding="utf-8")
        assert f'CONV_BODY: "{row.body}-FPN"' in text, row.config
        assert ("MASK_ON: True" in text) == (row.detector == MASK), row.config
        assert Path(row.config).stem.endswith(row.schedule), row.config
        loss = re.search(r'^  BOX_REG_LOSS: "(\w+)"', text, re.MULTILINE)
        published_loss = re.search(r", ([\w ]+) loss", row.note)
        if published_loss:
            assert loss and loss.group(1) == published_loss.group(1).lower().replace(" ", "_"), row.config


def test_rows_compare_with_r50_of_the_same_machine() -> None:
    by_kind = {(r.source.key, r.body, r.detector, r.schedule, r.note): r for r in published_rows()}
    v93 = by_kind["vovnet_detectron", "V-93", MASK, "2x", ""]
    assert baseline_of(v93) is by_kind["vovnet_fork", "R-50", MASK, "2x", ""]
    resnext = by_kind["mmdetection", "X-101-32x4d", FASTER, "1x", "pytorch"]
    assert baseline_of(resnext) is by_kind["mmdetection", "R-50", FASTER, "1x", "pytorch"]
    assert resnext.milliseconds == pytest.approx(72.46, abs=0.01)


@pytest.fixture
def plain() -> Any:
    return json.loads(PUBLISHED_FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("source", "nobody", r"rows\[3\]: source: 'nobody' is not one of vovnet_fork"),
        ("memory_gb", -1.0, r"rows\[3\]: memory_gb: -1.0 is not a number between 0 and 1000"),
        ("memory_gb", "4.4", r"rows\[3\]: memory_gb: '4.4' is not a number"),
        ("inference_fps", 11.5, r"rows\[3\]: inference_ms and inference_fps: give the one"),
        ("box_ap", [0.408], r"rows\[3\]: AP: 0.408 is not a percentage between 1 and 100"),
        ("mask_ap", [37.5], r"rows\[3\]: mask_ap: Faster R-CNN and \[37.5\] contradict"),
        ("detector", "Cascade", r"rows\[3\]: detector: 'Cascade' is not one of Faster R-CNN, Mask R-CNN"),
        ("schedule", "24 epochs", r"rows\[3\]: schedule: '24 epochs' is not one of 1x, 2x, 3x"),
        ("mem", 4.4, r"rows\[3\]: .*'mem'"),
        ("body", "V-39", r"rows\[3\]: V-39 Faster R-CNN 2x  is there twice"),
    ],
)
def test_a_mistake_in_a_row_is_named(plain: Any, entry: str, value: object, message: str) -> None:
    plain["rows"][3][entry] = value
    if entry == "body":
        plain["rows"][3]["config"] = ""
    with pytest.raises(ValueError, match=message):
        parse_published(plain)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("hardware", "", r"sources.vovnet_fork.hardware: empty"),
        ("url", "http://a", r"sources.vovnet_fork.url: 'http://a' does not start with https://"),
        ("revision", "main", r"sources.vovnet_fork.revision: 'main' is not a commit of 40 hex digits"),
        ("same_machine_as", "mine", r"sources.vovnet_fork.same_machine_as: 'mine' is not one of"),
        ("author", "me", r"sources.vovnet_fork: .*'author'"),
    ],
)
def test_a_mistake_in_a_source_is_named(plain: Any, entry: str, value: object, message: str) -> None:
    plain["sources"]["vovnet_fork"][entry] = value
    with pytest.raises(ValueError, match=message):
        parse_published(plain)


def test_two_rows_may_not_claim_one_config(plain: Any) -> None:
    row = copy.deepcopy(plain["rows"][0])
    plain["rows"].append({**row, "note": "again"})
    with pytest.raises(ValueError, match=r"config: configs/e2e_faster_rcnn_R_50_FPN_2x.yaml already stands"):
        parse_published(plain)
