"""A scatter plot as inline SVG: no library, no script, colours from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnn_benchmark.html.axis import Axis, make_axis, tick_text
from maskrcnn_benchmark.html.elements import Html, element

WIDTH, HEIGHT = 440, 320
LEFT, RIGHT, TOP, BOTTOM = 46, 34, 12, 62
LETTER, LINE_HEIGHT = 7.0, 14.0  # of the labels, about
RADII = {"full": 4.5, "half": 4.5, "hollow": 7.0}


@dataclass(frozen=True)
class Point:
    """One marker.

    Attributes:
        colour: of page.html.
        kind: how it is filled: "full", "half" or "hollow". A thin line ties a hollow one to the filled one of
            the same name.
        description: in words, for who points at it or cannot see it.
    """

    name: str
    colour: str
    kind: str
    x: float
    y: float
    description: str


def scatter(
    key: str, title: str, x_title: str, points: Sequence[Point], second_scale: tuple[float, str] | None
) -> Html:
    """A plot of at least one point.

    Args:
        key: unique in the page.
        second_scale: (value at x = 1, unit): a second line under the ticks of x says what they are worth.
    """
    x_axis = make_axis([point.x for point in points], LEFT, WIDTH - RIGHT, 6)
    y_axis = make_axis([point.y for point in points], HEIGHT - BOTTOM, TOP)
    words = "; ".join(point.description for point in points)
    behind = sorted(points, key=lambda point: point.kind != "hollow")
    middle = (LEFT + WIDTH - RIGHT) / 2
    return element(
        "svg",
        element("title", title, id=f"{key}-t"),
        element("desc", words, id=f"{key}-d"),
        *_grid(x_axis, y_axis, second_scale),
        element("text", x_title, x=middle, y=HEIGHT - 6, text_anchor="middle"),
        *_ties(points, x_axis, y_axis),
        *(_marker(point, x_axis, y_axis) for point in behind),
        *_labels(points, x_axis, y_axis),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby=f"{key}-t {key}-d",
    )


def marker_sample(kind: str) -> Html:
    """A marker for the legend."""
    circle = element("circle", cx=9, cy=9, r=RADII[kind], class_=kind)
    return element("svg", circle, width=18, height=18, aria_hidden="true")


def _grid(x_axis: Axis, y_axis: Axis, second_scale: tuple[float, str] | None) -> list[Html]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in y_axis.ticks():
        y = y_axis.place(value)
        parts.append(_line("grid", LEFT, y, right, y))
        parts.append(_tick(LEFT - 8, y + 4, "end", tick_text(value, y_axis.step)))
    for value in x_axis.ticks():
        x = x_axis.place(value)
        parts.append(_line("axis", x, bottom, x, bottom + 4))
        parts.append(_tick(x, bottom + 17, "middle", tick_text(value, x_axis.step)))
        if second_scale is not None:
            worth, unit = value * second_scale[0], second_scale[1]
            digits = 0 if second_scale[0] >= 50 else 2
            parts.append(_tick(x, bottom + 32, "middle", f"{worth:.{digits}f} {unit}"))
    parts.append(_line("axis", LEFT, bottom, right, bottom))
    return parts


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Html:
    return element("line", class_=kind, x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}")


def _tick(x: float, y: float, anchor: str, words: str) -> Html:
    return element("text", words, class_="tick", x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _marker(point: Point, x_axis: Axis, y_axis: Axis) -> Html:
    x, y = f"{x_axis.place(point.x):.1f}", f"{y_axis.place(point.y):.1f}"
    description = element("title", point.description)
    return element(
        "circle", description, class_=f"{point.kind} {point.colour}", cx=x, cy=y, r=RADII[point.kind]
    )


def _tied(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """Each hollow point with the filled one of the same name, where there is one."""
    filled = {point.name: point for point in points if point.kind != "hollow"}
    return [
        (point, filled[point.name]) for point in points if point.kind == "hollow" and point.name in filled
    ]


def _ties(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> list[Html]:
    """A thin line between those two."""
    return [
        _line(
            f"tie {one.colour}",
            *(x_axis.place(one.x), y_axis.place(one.y)),
            *(x_axis.place(other.x), y_axis.place(other.y)),
        )
        for one, other in _tied(points)
    ]


def _labels(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> list[Html]:
    """Each name once, beside its filled point where there is one, on a side that is still free.

    A name without room is left out: the marker says it when pointed at, and the table has it.
    """
    named = {point.name: point for point in points if point.kind == "hollow"}
    named |= {point.name: point for point in points if point.kind != "hollow"}
    taken = [_around(x_axis.place(p.x), y_axis.place(p.y), RADII[p.kind]) for p in points]
    for one, other in _tied(points):
        left, right = sorted((x_axis.place(one.x), x_axis.place(other.x)))
        top, bottom = sorted((y_axis.place(one.y), y_axis.place(other.y)))
        taken.append((left, top - 1, right, bottom + 1))
    parts = []
    for point in named.values():
        x, y, width = x_axis.place(point.x), y_axis.place(point.y), LETTER * len(point.name)
        candidates = (
            (x + 11, y + 4),
            (x - 11 - width, y + 4),
            (x - width / 2, y - 11),
            (x - width / 2, y + 21),
            (x + 9, y - 8),
            (x + 9, y + 18),
        )
        place = next((c for c in candidates if _is_free(c, width, taken)), None)
        if place is not None:
            taken.append(_label_box(place, width))
            parts.append(element("text", point.name, x=f"{place[0]:.1f}", y=f"{place[1]:.1f}"))
    return parts


Box = tuple[float, float, float, float]


def _around(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def _label_box(place: tuple[float, float], width: float) -> Box:
    return place[0], place[1] - LINE_HEIGHT + 3, place[0] + width, place[1] + 3


def _is_free(place: tuple[float, float], width: float, taken: Sequence[Box]) -> bool:
    left, top, right, bottom = _label_box(place, width)
    inside = left >= LEFT and right <= WIDTH - 2 and top >= 0 and bottom <= HEIGHT - BOTTOM
    return inside and all(
        right <= box[0] or left >= box[2] or bottom <= box[1] or top >= box[3] for box in taken
    )
