"""report.html opened in a real browser: offline, on a phone, in the dark; every row is there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmark import report_case as case

from maskrcnn_benchmark.benchmark.published import published_rows
from maskrcnn_benchmark.benchmark.report.html_page import write_html

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
BROWSER_VARIABLES = ("CHROME", "CHROME_PATH", "PLAYWRIGHT_CHROMIUM_EXECUTABLE_PATH")

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


def browser_path(of_playwright: str) -> str | None:
    """An installed browser of Chromium's kind, or playwright's own."""
    named = [os.environ[name] for name in BROWSER_VARIABLES if os.environ.get(name)]
    found = [path for name in (*named, *BROWSERS, of_playwright) if (path := shutil.which(name))]
    return found[0] if found else None


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as running:
        path = browser_path(running.chromium.executable_path)
        if path is None:
            pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed, and CHROME names none")
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
