"""report.html as text: whole HTML that loads nothing, whatever the run; points that say what they are."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from benchmark import report_case as case

from maskrcnn_benchmark.benchmark.report.beside_published import report_groups
from maskrcnn_benchmark.benchmark.report.html_page import html_text
from maskrcnn_benchmark.benchmark.report.html_plots import colour_of, plots
from maskrcnn_benchmark.benchmark.row import FASTER, MASK

VOID = {"meta", "link", "br"}


class Balance(HTMLParser):
    """Whether every element is closed, and no id is there twice."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.references += (found.get("aria-labelledby") or "").split()
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open = self.open[:-1] if tag not in VOID else self.open

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def two_dtypes() -> tuple[Any, ...]:
    return tuple(
        case.row(body, detector, dtype)
        for dtype in ("float32", "bfloat16")
        for detector in (FASTER, MASK)
        for body in ("R-50", "V-39")
    )


@pytest.mark.parametrize(
    "rows",
    [None, (), (case.failed(case.row()),), (case.row("X-101-32x4d"),), two_dtypes()],
    ids=["everything", "no rows", "only a failed one", "no R-50", "two dtypes"],
)
def test_every_run_gives_whole_html_that_loads_nothing(rows: tuple[Any, ...] | None) -> None:
    text = html_text(case.results(rows))
    balance = Balance()
    balance.feed(text)
    assert balance.open == []
    assert len(set(balance.ids)) == len(balance.ids) and set(balance.references) <= set(balance.ids)
    assert "<script" not in text and "alert('x')" not in text.replace("alert(&#x27;x&#x27;)", "")
    assert not re.findall(r"(?:src|href)=\"(?!https://github\.com/|data:,)", text)
    assert "@import" not in text and "url(" not in text


def test_tensors_stand_under_resident_memory_and_are_drawn() -> None:
    text = html_text(case.cpu_results())
    assert "3.98<small>tensors 3.46</small>" in text
    assert "V-39: 3.46 GB measured, 1.10 of R-50, Box AP 39.8 published" in text
    assert "tensors" not in html_text(case.results())


def test_points_say_where_their_ap_comes_from() -> None:
    drawn = plots(report_groups(case.results()))
    assert "V-39: 190 ms measured, 0.95 of R-50, Box AP 40.1 measured" in drawn
    assert "V-39, published: Box AP 39.8 at 1.00 of R-50" in drawn
    assert "V-57: 220 ms measured, 1.10 of R-50, Box AP 40.8 published" in drawn
    assert "R-101: failed" not in drawn and "R-101, published: Mask AP 36.7 at 1.23 of R-50" in drawn
    assert drawn.count('class="full teal"') == 2, "measured AP: once against time, once against memory"


def test_without_r50_only_measured_points_are_drawn() -> None:
    drawn = plots(report_groups(case.results((case.row("V-39"), case.row("V-57")))))
    assert "V-39: 190 ms measured, Box AP 39.8 published" in drawn
    assert "R-50 was not measured" in drawn and "hollow teal" not in drawn
    assert "and measured" not in drawn
    two = (case.row("R-50"), replace(case.row("R-50", scale=2.0), config="a_1x.yaml", name="slow"))
    mixed = plots(report_groups(case.results((*two, replace(case.row("V-39"), config="b_1x.yaml")))))
    assert "inference time, relative to R-50<" in mixed, "two R-50: no scale for both"
    own = replace(case.row("V-39"), config="configs/mine.yaml")
    assert "No AP, measured or published" in plots(report_groups(case.results((own,))))
    failed = plots(report_groups(case.results((case.failed(case.row("V-39")),))))
    assert "nothing was measured" in failed


@pytest.mark.parametrize(
    ("body", "colour"),
    [
        *(("V-39", "teal"), ("V2-39", "teal"), ("V2-19-slim-dw", "teal"), ("V-39-GN", "teal")),
        *(("R-50-GN", "brown"), ("W-50-2", "brown"), ("X-101-32x4d", "purple")),
        *(("VGG-16", "grey"), ("MobileNet-V2", "grey")),
    ],
)
def test_a_family_has_its_colour(body: str, colour: str) -> None:
    assert colour_of(body) == colour
