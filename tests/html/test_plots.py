"""Bars and scatter plots: lengths and places are those of the values, and every mark says what it is."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import combinations

import pytest

from maskrcnn_benchmark.html.bars import Bar, Segment, stacked_bars, swatch
from maskrcnn_benchmark.html.page import TEMPLATE_FILE
from maskrcnn_benchmark.html.scatter import Point, marker_sample, scatter

BARS = [
    Bar("first", [Segment("one", 3.0, "3 s", "teal"), Segment("two", 1.0, "1 s", "rose")], "4 s"),
    Bar("second", [Segment("one", 8.0, "8 s", "teal")], "8 s"),
]


class Shapes(HTMLParser):
    """The attributes of every element of a kind."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.found: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == self.kind:
            self.found.append(dict(attrs))


def point(x: float, y: float, name: str = "a", kind: str = "full") -> Point:
    return Point(name, "teal", kind, x, y, f"{name} at {x}, {y}")


def test_bars_are_as_long_as_their_values() -> None:
    text = stacked_bars(BARS, full_width=10.0)
    rects = Shapes(text, "rect").found
    assert [(rect["x"], rect["width"], rect["class"]) for rect in rects] == [
        ("0.000%", "30.000%", "teal"),
        ("30.000%", "10.000%", "rose"),
        ("0.000%", "80.000%", "teal"),
    ]
    labels = [svg["aria-label"] for svg in Shapes(text, "svg").found]
    assert labels == ["first: one 3 s, two 1 s", "second: one 8 s"]


def test_points_lie_where_their_values_are() -> None:
    points = [point(1.0, 40.0), point(2.0, 42.0, "b"), point(4.0, 36.0, "c", "half")]
    text = scatter("key", "title", "x", points, None)
    circles = Shapes(text, "circle").found
    x, y = ([float(circle[name] or "") for circle in circles] for name in ("cx", "cy"))
    assert (x[2] - x[1]) / (x[1] - x[0]) == pytest.approx(2.0, rel=0.01)
    assert (y[2] - y[0]) / (y[1] - y[0]) == pytest.approx(-2.0, rel=0.01), "down is less"
    assert [circle["class"] for circle in circles] == ["full teal", "full teal", "half teal"]
    assert all(each.description in text for each in points)


def test_a_hollow_point_is_tied_to_its_filled_one() -> None:
    points = [point(1.0, 40.0), point(2.0, 41.0, kind="hollow"), point(3.0, 42.0, "b", "hollow")]
    text = scatter("key", "title", "x", points, None)
    ties = [line for line in Shapes(text, "line").found if line["class"] == "tie teal"]
    circles = {circle["class"]: circle for circle in reversed(Shapes(text, "circle").found)}
    assert len(ties) == 1
    assert (ties[0]["x2"], ties[0]["y2"]) == (circles["full teal"]["cx"], circles["full teal"]["cy"])
    assert Shapes(text, "circle").found[-1]["class"] == "full teal", "filled points lie on top"


def test_a_second_scale_is_the_first_one_times_its_worth() -> None:
    text = scatter("key", "title", "x", [point(1.0, 40.0), point(2.0, 41.0)], (200.0, "ms"))
    ticks = re.findall(r'class="tick"[^>]*text-anchor="middle">([^<]*)<', text)
    values, worths = ticks[::2], ticks[1::2]
    assert [float(worth.removesuffix(" ms")) for worth in worths] == pytest.approx(
        [200 * float(value) for value in values]
    )


def test_names_never_lie_on_each_other() -> None:
    points = [point(1.0 + 0.001 * i, 40.0 + 0.001 * i, f"name-{i}") for i in range(6)] + [point(3.0, 45.0)]
    found = re.findall(
        r'<text x="([\d.]+)" y="([\d.]+)">([^<]+)</text>', scatter("k", "t", "x", points, None)
    )
    labels = [(float(x), float(y), 7 * len(name)) for x, y, name in found]
    assert 1 <= len(labels) < len(points), "one without room is left out"
    for (x, y, width), (other_x, other_y, other_width) in combinations(labels, 2):
        beside = x + width <= other_x or other_x + other_width <= x
        assert beside or abs(y - other_y) >= 14, "letters are about 7 wide and 14 high"


def test_the_page_has_every_colour_and_kind_in_light_and_dark() -> None:
    styles = TEMPLATE_FILE.read_text(encoding="utf-8")
    colours = re.findall(r"\.(\w+) \{ --own: var\(--\1\); \}", styles)
    assert len(colours) == styles.count("--own: ") == 11
    for name in colours:
        assert styles.count(f"--{name}: #") == 2, f"{name} in light and in dark"
        assert f'class="swatch {name}"' in swatch(name)
    for kind in ("full", "half", "hollow"):
        assert f".{kind} {{" in styles and f'class="{kind}"' in marker_sample(kind)
