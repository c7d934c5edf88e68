"""report.html opened in a real browser: offline, on a phone, in the dark; every row is there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from engine.benchmark import report_case as case

from maskrcnn_benchmark.engine.benchmark.html_plots import family_of, plots
from maskrcnn_benchmark.engine.benchmark.html_report import html_text, write_html
from maskrcnn_benchmark.engine.benchmark.measures import FASTER, MASK
from maskrcnn_benchmark.engine.benchmark.published import published_rows
from maskrcnn_benchmark.engine.benchmark.report_rows import report_groups
from maskrcnn_benchmark.engine.benchmark.svg_scatter import make_axis

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
BROWSER_VARIABLES = ("CHROME", "CHROME_PATH", "PLAYWRIGHT_CHROMIUM_EXECUTABLE_PATH")
VOID = {"meta", "link", "br"}

# Of every text on the page: the contrast ratio (WCAG 2) of its colour on the nearest opaque background.
CONTRASTS = """
() => {
  const parse = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => {
    const lin = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return 0.2126 * lin(r) + 0.7152 * lin(g) + 0.0722 * lin(b);
  };
  const backgroundOf = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.textContent.trim();
    if (!words || element.closest('title, desc, style')) continue;
    const style = getComputedStyle(element);
    const ink = luminance(parse(element.closest('svg') ? style.fill : style.color));
    const paper = luminance(backgroundOf(element));
    found.push([(Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05), words]);
  }
  return found;
}
"""


def browser_path() -> str | None:
    """An installed browser of Chromium's kind."""
    named = [os.environ[name] for name in BROWSER_VARIABLES if os.environ.get(name)]
    found = [path for name in (*named, *BROWSERS) if (path := shutil.which(name))]
    return found[0] if found else None


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    path = browser_path()
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed, and CHROME names none")
    with api.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_html(case.results(), path)
    return path


class Opened:
    """A page, and everything that went wrong or out while it opened."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, scheme: str = "light") -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 812}, color_scheme=scheme, offline=True
        )
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())


def test_it_opens_alone_and_shows_every_row(browser: Any, report: Path) -> None:
    opened = Opened(browser, report)
    shown = opened.page.eval_on_selector_all("#main tr[data-row]", "rows => rows.map(r => r.dataset.row)")
    assert shown == [row.name for row in case.results().rows]
    texts = opened.page.eval_on_selector_all("#main tr[data-row]", "rows => rows.map(r => r.innerText)")
    assert re.split(r"\s+", texts[2])[:9] == [
        "V-39",
        "3.46",
        "3.9",
        "1.10",
        "1.08",
        "190",
        "78",
        "0.95",
        "1.00",
    ]
    assert "out of memory" in texts[7] and texts[5].count("failed") == 2
    everything = opened.page.inner_text("body")
    for words in ("<script>alert('x')</script>", "Card <One> & Co", "the split is missing <here>", "700 W"):
        assert words in everything, f"{words} stands there as text"
    for row in published_rows():
        assert row.body in everything
    assert opened.complaints == []
    assert [url for url in opened.requests if url != report.as_uri()] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_a_phone_in_the_sun_and_in_the_dark(
    browser: Any, report: Path, scheme: str
) -> None:
    opened = Opened(browser, report, width=375, scheme=scheme)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") == 375, "the page does not scroll sideways"
    wide = page.eval_on_selector_all(
        "body *:not(.scroll *)", "all => all.filter(e => e.getBoundingClientRect().right > 375.5).length"
    )
    assert wide == 0, "nothing but what scrolls in its own container reaches over the edge"
    assert page.eval_on_selector("#main", "e => e.getBoundingClientRect().width > 375"), "and the table does"
    letters = page.eval_on_selector_all("svg text", "all => all.map(t => t.getBoundingClientRect().height)")
    assert min(letters) > 10, "letters in the plots stay readable"
    page.eval_on_selector_all("details", "all => all.forEach(d => { d.open = true; })")
    faint = [(round(ratio, 2), words) for ratio, words in page.evaluate(CONTRASTS) if ratio < 4.5]
    assert faint == []
    assert opened.complaints == []


def test_the_dark_changes_the_colours(browser: Any, report: Path) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page = Opened(browser, report, scheme=scheme).page
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness[scheme] = sum(map(int, re.findall(r"\d+", colour))) / 3
    assert brightness["light"] > 200 and brightness["dark"] < 60


def test_tables_scroll_by_keyboard_and_are_named(browser: Any, report: Path) -> None:
    page = Opened(browser, report, width=375).page
    regions = page.locator("[role=region]")
    assert regions.count() >= 4
    for i in range(regions.count()):
        assert regions.nth(i).get_attribute("aria-label") and regions.nth(i).get_attribute("tabindex") == "0"
    first = regions.nth(0)
    first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.scroll').scrollLeft > 0")
    left = page.eval_on_selector("#main tr[data-row] th", "e => e.getBoundingClientRect().left")
    assert left == pytest.approx(first.bounding_box()["x"], abs=1), "the backbone's name stays in sight"
    names = page.eval_on_selector_all("svg[role=img]", "all => all.map(e => e.textContent + e.ariaLabel)")
    assert names and all(len(name) > 20 for name in names)


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


def two_types() -> tuple[Any, ...]:
    return tuple(
        case.row(body, detector, dtype)
        for dtype in ("float32", "bfloat16")
        for detector in (FASTER, MASK)
        for body in ("R-50", "V-39")
    )


@pytest.mark.parametrize(
    "rows",
    [None, (), (case.failed(case.row()),), (case.row("X-101-32x4d"),), two_types()],
    ids=["everything", "no rows", "only a failed one", "no R-50", "two types"],
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


def test_points_say_where_their_ap_comes_from() -> None:
    drawn = plots(report_groups(case.results()))
    assert "V-39: 190 ms measured, 0.95 of R-50, Box AP 40.1 measured" in drawn
    assert "V-39, published: Box AP 39.8 at 1.00 of R-50" in drawn
    assert "V-57: 220 ms measured, 1.10 of R-50, Box AP 40.8 published" in drawn
    assert "R-101: failed" not in drawn and "R-101, published: Mask AP 36.7 at 1.23 of R-50" in drawn
    assert drawn.count('class="full vovnet"') == 2, "measured AP: once against time, once against memory"


def test_without_r50_only_measured_points_are_drawn() -> None:
    drawn = plots(report_groups(case.results((case.row("V-39"), case.row("V-57")))))
    assert "V-39: 190 ms measured, Box AP 39.8 published" in drawn
    assert "R-50 was not measured" in drawn and "hollow vovnet" not in drawn
    own = replace(case.row("V-39"), config="configs/mine.yaml")
    assert "No AP, measured or published" in plots(report_groups(case.results((own,))))
    failed = plots(report_groups(case.results((case.failed(case.row("V-39")),))))
    assert "nothing was measured" in failed


@pytest.mark.parametrize(
    ("body", "family"),
    [
        *(("V-39", "vovnet"), ("V2-39", "vovnet"), ("V2-19-slim-dw", "vovnet"), ("V-39-GN", "vovnet")),
        *(("R-50-GN", "resnet"), ("W-50-2", "resnet"), ("X-101-32x4d", "resnext")),
        *(("VGG-16", "other"), ("MobileNet-V2", "other")),
    ],
)
def test_families(body: str, family: str) -> None:
    assert family_of(body) == family


@pytest.mark.parametrize("values", [[1.0], [0.95, 1.0, 1.31], [37.4, 42.1], [200.0, 2300.0], [0.001, 0.0012]])
def test_axes_are_round_and_hold_everything(values: list[float]) -> None:
    axis = make_axis(values, 40, 400)
    places = [axis.place(value) for value in values]
    assert all(40 < place < 400 for place in places) and places == sorted(places)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 10
    assert axis.place(ticks[0]) == pytest.approx(40) and axis.place(ticks[-1]) == pytest.approx(400)
