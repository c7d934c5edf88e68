"""AP against time or memory as inline SVG: no library, no script, colours from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnn_benchmark.benchmark.report.html_tables import text
from maskrcnn_benchmark.benchmark.report.svg_axis import Axis, make_axis, tick_words

WIDTH, HEIGHT = 440, 320
LEFT, RIGHT, TOP, BOTTOM = 46, 34, 12, 62
LETTER, LINE_HEIGHT = 7.0, 14.0  # of the labels, about
RADII = {"full": 4.5, "half": 4.5, "hollow": 7.0}


@dataclass(frozen=True)
class Point:
    """One marker.

    Attributes:
        kind: "full": measured in both directions; "half": AP is the published one; "hollow": both published.
        description: in words, for who points at it or cannot see it.
    """

    name: str
    family: str
    kind: str
    x: float
    y: float
    description: str


def scatter(
    key: str, title: str, x_title: str, points: Sequence[Point], second_scale: tuple[float, str] | None
) -> str:
    """A plot of at least one point.

    Args:
        key: unique in the page.
        second_scale: (value at x = 1, unit): a second line under the ticks of x says what they are worth.
    """
    x_axis = make_axis([point.x for point in points], LEFT, WIDTH - RIGHT, 6)
    y_axis = make_axis([point.y for point in points], HEIGHT - BOTTOM, TOP)
    words = "; ".join(point.description for point in points)
    behind = sorted(points, key=lambda point: point.kind != "hollow")
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{key}-t {key}-d">',
        f'<title id="{key}-t">{text(title)}</title><desc id="{key}-d">{text(words)}</desc>',
        *_grid(x_axis, y_axis, second_scale),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">',
        f"{text(x_title)}</text>",
        *_ties(points, x_axis, y_axis),
        *(_marker(point, x_axis, y_axis) for point in behind),
        *_labels(points, x_axis, y_axis),
        "</svg>",
    ]
    return "".join(parts)


def marker_sample(kind: str) -> str:
    """A marker for the legend."""
    circle = f'<circle cx="9" cy="9" r="{RADII[kind]}" class="{kind}"/>'
    return f'<svg width="18" height="18" aria-hidden="true">{circle}</svg>'


def _grid(x_axis: Axis, y_axis: Axis, second_scale: tuple[float, str] | None) -> list[str]:
    bottom = HEIGHT - BOTTOM
    parts = []
    for value in y_axis.ticks():
        y = y_axis.place(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_tick(LEFT - 8, y + 4, "end", tick_words(value, y_axis.step)))
    for value in x_axis.ticks():
        x = x_axis.place(value)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(_tick(x, bottom + 17, "middle", tick_words(value, x_axis.step)))
        if second_scale is not None:
            worth = value * second_scale[0]
            digits = 0 if second_scale[0] >= 50 else 2
            parts.append(_tick(x, bottom + 32, "middle", f"{worth:.{digits}f} {second_scale[1]}"))
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    return parts


def _tick(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(words)}</text>'


def _marker(point: Point, x_axis: Axis, y_axis: Axis) -> str:
    return (
        f'<circle class="{point.kind} {point.family}" cx="{x_axis.place(point.x):.1f}" '
        f'cy="{y_axis.place(point.y):.1f}" r="{RADII[point.kind]}">'
        f"<title>{text(point.description)}</title></circle>"
    )


def _tied(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """Each published point with the measured one of the same name, where there is one."""
    measured = {point.name: point for point in points if point.kind != "hollow"}
    return [
        (point, measured[point.name]) for point in points if point.kind == "hollow" and point.name in measured
    ]


def _ties(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> list[str]:
    """A thin line between those two."""
    return [
        f'<line class="tie {one.family}" x1="{x_axis.place(one.x):.1f}" y1="{y_axis.place(one.y):.1f}" '
        f'x2="{x_axis.place(other.x):.1f}" y2="{y_axis.place(other.y):.1f}"/>'
        for one, other in _tied(points)
    ]


def _labels(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> list[str]:
    """Each name once, beside its measured point where there is one, on a side that is still free.

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
            parts.append(f'<text x="{place[0]:.1f}" y="{place[1]:.1f}">{text(point.name)}</text>')
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
