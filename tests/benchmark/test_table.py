"""table.md: measured and published side by side, never mixed; what is missing is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmark import report_case as case

from maskrcnn_benchmark.benchmark.report.beside_published import make_line
from maskrcnn_benchmark.benchmark.report.markdown_page import main_table, table_text, write_table
from maskrcnn_benchmark.benchmark.report.quantities import memory_gb
from maskrcnn_benchmark.benchmark.row import FASTER, MASK


def cells_of(text: str, body: str, detector: str) -> list[str]:
    """The cells of the first row of this body and detector."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[:2] == [body, detector]:
            return cells
    raise AssertionError(f"no row {body}, {detector}")


def test_measured_and_published_stand_in_columns_of_their_own() -> None:
    table = main_table(case.results())
    # 3300 MiB are 3.46 GB; 190 of 200 ms; published 3.9 of 3.6 GB and 78 of 78 ms.
    assert cells_of(table, "V-39", FASTER) == [
        *("V-39", FASTER, "3.46", "3.9", "1.10", "1.08", "190", "78", "0.95", "1.00"),
        *("40.1/-/43.1/50.1", "39.8/23.7/42.6/51.5", "-", "-"),
    ]


def test_published_ap_never_fills_a_measured_cell() -> None:
    cells = cells_of(main_table(case.results()), "V-57", FASTER)
    assert cells[10:] == ["-", "40.8/24.8/43.8/52.4", "-", "-"]


def test_rows_that_did_not_finish_say_so() -> None:
    table = main_table(case.results())
    assert cells_of(table, "V-57", MASK)[2:8] == ["out of memory", "4.5", "-", "1.25", "242", "90"]
    assert cells_of(table, "R-101", MASK)[2:9] == ["failed", "4.7", "-", "1.31", "failed", "102", "-"]
    text = table_text(case.results())
    assert "- mask-V-57, float32: out of memory. CUDA out of memory. Tried 2 GiB" in text
    assert "- mask-R-101, float32: failed. &lt;script>" in text, "no tag comes through"


def test_the_ratio_is_to_r50_of_the_same_kind() -> None:
    slow = case.row("R-50", scale=2.0)
    one_x = replace(slow, config=slow.config.replace("2x", "1x"))
    masks, halves = case.row("R-50", MASK), case.row("R-50", dtype="bfloat16")
    peer = replace(case.row("R-50", scale=3.0), implementation="torchvision")
    v39 = case.row("V-39")
    rows = (one_x, masks, halves, peer, case.row("R-50"), v39)
    assert make_line(v39, rows).time.measured_ratio == pytest.approx(190 / 200)
    assert make_line(v39, (one_x, v39)).time.measured_ratio == pytest.approx(190 / 400), "better than none"
    without = make_line(v39, (masks, halves, peer, v39))
    assert (without.time.measured_ratio, without.memory.measured_ratio) == (None, None)
    assert without.time.published_ratio == pytest.approx(1.0), "the published one has its own"


def test_of_several_r50_the_published_one_is_the_base() -> None:
    caffe = replace(case.row("R-50", scale=3.0), config="configs/mmdet/faster_rcnn_R_50_caffe_FPN_1x.yaml")
    pytorch = replace(case.row("R-50"), config="configs/mmdet/faster_rcnn_R_50_FPN_1x.yaml")
    resnext = case.row("X-101-32x4d")
    resnext = replace(resnext, config="configs/mmdet/faster_rcnn_X_101_32x4d_FPN_1x.yaml")
    line = make_line(resnext, (caffe, pytorch, resnext))
    assert line.time.measured_ratio == pytest.approx(410 / 200)
    assert line.time.published_ratio == pytest.approx(21.4 / 13.8)
    mine = replace(case.row("R-50"), config="mine.yaml", name="mine")
    table = main_table(case.results((caffe, pytorch, mine, resnext)))
    for label in ("R-50 (1x, caffe)", "R-50 (1x, pytorch)", "R-50 (mine)", "X-101-32x4d"):
        assert cells_of(table, label, FASTER), "rows of one body are told apart"


def test_another_config_has_no_published_row() -> None:
    own = replace(case.row("V-39"), config="configs/mine.yaml", backbone="V-39-FPN-GN")
    line = make_line(own, (case.row("R-50"), own))
    assert line.published is None and line.body == "V-39-GN"
    assert line.time[1::2] == (None, None) and line.time.measured_ratio == pytest.approx(0.95)


def test_memory_on_a_cpu_is_resident_memory() -> None:
    on_cpu = case.on_cpu(case.row(), 2000.0, None)
    assert memory_gb(on_cpu) == pytest.approx(2000 * 1024 * 1024 / 1e9)
    whole = case.results((on_cpu,))
    whole = replace(whole, environment=replace(whole.environment, device_type="cpu"))
    assert "resident memory and no GPU's number" in table_text(whole)
    assert "resident memory" not in table_text(case.results())


def test_on_a_cpu_the_peak_of_tensors_is_compared() -> None:
    text = table_text(case.cpu_results())
    # 3800 and 3300 MiB; 3300 of 3000 MiB
    assert cells_of(text, "V-39", FASTER)[2:6] == ["3.98, tensors 3.46", "3.9", "1.10", "1.08"]
    assert "use the peak of tensors" in text
    assert cells_of(text, "V-39 : R-50", FASTER)[5:] == ["1.10", "1.08"]


def test_no_ratio_mixes_two_kinds_of_memory() -> None:
    text = table_text(case.cpu_results(with_tensors=False))
    assert cells_of(text, "R-50", FASTER)[2] == "4.19"
    assert cells_of(text, "V-39", FASTER)[2:6] == ["3.98, tensors 3.46", "3.9", "0.95", "1.08"]
    assert "use the peak of tensors" not in text


def test_the_text_says_what_the_numbers_are() -> None:
    text = table_text(case.results())
    assert "Card &lt;One> & Co" in text
    for part in (
        *("2026-11-21", "abc1234", "torch 2.14.1", "700 W", "Batch 1, warmed up", "another"),
        *("class biases are shifted", "8 x TITAN Xp, 2 images each", "cuDNN 7.2", "2x schedule"),
        *("faster-R-101: the split is missing", "backbone.body.stage2", "torchvision"),
    ):
        assert part in text, part
    assert "Random weights" not in text and "quick run" not in text
    plain = case.results((case.row(),), ())
    quick = replace(plain, settings=replace(plain.settings, quick=True))
    assert "Random weights" in table_text(quick) and "A quick run" in table_text(quick)
    assert "Peers measured" not in table_text(quick)


def test_two_dtypes_have_a_table_each() -> None:
    rows = (case.row("R-50"), case.row("R-50", dtype="bfloat16"))
    text = main_table(case.results(rows))
    assert text.index("**float32**") < text.index("**bfloat16**")
    assert "**float32**" not in main_table(case.results(rows[:1]))


def test_peers_stand_beside_ours() -> None:
    text = table_text(case.results()).split("## Peers")[1]
    cells = cells_of(text, "R-50", FASTER)
    assert cells[3] == "torchvision" and cells[7:] == ["300", "200", "0.67"]


def test_each_vovnet_stands_beside_the_resnet_of_its_size() -> None:
    text = table_text(case.results()).split("## VoVNet against")[1].split("## ")[0]
    assert cells_of(text, "V-39 : R-50", MASK)[2:] == ["float32", "0.95", "0.98", "1.10", "1.11"]
    assert cells_of(text, "V-57 : R-101", FASTER)[2:] == ["float32", "0.85", "0.90", "0.97", "0.94"]
    assert cells_of(text, "V-57 : R-101", MASK)[3:] == ["-", "0.88", "-", "0.96"]


def test_no_rows_at_all(tmp_path: Path) -> None:
    write_table(case.results((), ()), tmp_path / "table.md")
    assert "V-93" in (tmp_path / "table.md").read_text(), "the published ones are there"
