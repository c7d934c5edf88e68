"""Stacked bars as inline SVG, in percent of the width, so that letters keep their size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from maskrcnn_benchmark.html.elements import Html, element, fragment


class Segment(NamedTuple):
    """A part of a bar.

    Attributes:
        words: the value with its unit.
        colour: of page.html.
    """

    title: str
    value: float
    words: str
    colour: str


class Bar(NamedTuple):
    """A row: its name, its parts from the left, and what stands behind them."""

    name: str
    segments: Sequence[Segment]
    total: str


def stacked_bars(bars: Sequence[Bar], full_width: float) -> Html:
    """Bars one below the other. `full_width`: the value that fills the width, so that bars compare."""
    return element("div", *(part for bar in bars for part in _bar(bar, full_width)), class_="bars")


def swatch(colour: str) -> Html:
    """A square of the colour, for a legend."""
    square = element("rect", width=14, height=14, rx=2, class_=f"swatch {colour}")
    return element("svg", square, width=14, height=14, aria_hidden="true")


def _bar(bar: Bar, full_width: float) -> list[Html]:
    rects, start = [], 0.0
    for segment in bar.segments:
        share = 100 * segment.value / full_width
        place = {"x": f"{start:.3f}%", "width": f"{share:.3f}%", "height": "100%"}
        title = element("title", f"{segment.title}: {segment.words}")
        rects.append(element("rect", title, **place, class_=segment.colour))
        start += share
    words = ", ".join(f"{segment.title} {segment.words}" for segment in bar.segments)
    return [
        element("span", bar.name),
        element("svg", fragment(*rects), role="img", aria_label=f"{bar.name}: {words}"),
        element("span", bar.total, class_="total"),
    ]
