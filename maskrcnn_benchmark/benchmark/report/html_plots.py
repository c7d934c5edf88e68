"""What the plots of report.html show: which points and bars, from which numbers, in which colours."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

from maskrcnn_benchmark.benchmark.published import AreaAP
from maskrcnn_benchmark.benchmark.report.beside_published import Beside, Group, Line
from maskrcnn_benchmark.benchmark.report.quantities import milliseconds
from maskrcnn_benchmark.benchmark.report.tables import STAGE_TITLES, stage_values
from maskrcnn_benchmark.html.bars import Bar, Segment, stacked_bars, swatch
from maskrcnn_benchmark.html.elements import Html, element, folded, fragment, legend
from maskrcnn_benchmark.html.scatter import Point, marker_sample, scatter

# Colours of html/page.html by family of bodies: VoVNet, ResNet and Wide ResNet, ResNeXt.
FAMILY_COLOURS = (("V2?-", "teal"), ("[RW]-", "brown"), ("X-", "purple"))
OTHER_COLOUR = "grey"
MARKERS = (
    ("full", "measured, with measured AP"),
    ("half", "measured, with the published AP (none was measured)"),
    ("hollow", "published, on the published hardware"),
)
STAGE_COLOURS = {
    "to_device": "silver",
    "backbone": "teal",
    "fpn": "aqua",
    "rpn": "ochre",
    "box_head": "brick",
    "mask_head": "rose",
    "post_processing": "indigo",
    "mask_pasting": "lavender",
}


class Quantity(NamedTuple):
    """What runs along x, and how to read it from a line."""

    key: str
    title: str
    unit: str
    of: Callable[[Line], Beside]


class Score(NamedTuple):
    """What runs along y: its name, the measured and the published value of a line, percent."""

    key: str
    title: str
    measured: Callable[[Line], AreaAP | None]
    published: Callable[[Line], AreaAP | None]


QUANTITIES = (
    Quantity("time", "inference time", "ms", lambda line: line.time),
    Quantity("memory", "training memory", "GB", lambda line: line.memory),
)
SCORES = (
    Score("box", "Box AP", lambda line: line.box_ap, lambda line: line.published_box_ap),
    Score("mask", "Mask AP", lambda line: line.mask_ap, lambda line: line.published_mask_ap),
)


def plots(groups: list[Group]) -> Html:
    """AP against time and memory: the first dtype in sight, others folded."""
    parts = [legend((marker_sample(kind), words) for kind, words in MARKERS)]
    for group in groups:
        figures = [
            _figure(group, quantity, score)
            for score in SCORES
            for quantity in QUANTITIES
            if any(score.measured(line) or score.published(line) for line in group.lines)
        ]
        inside = element("div", *figures, class_="plots")
        if not figures:
            inside = element("p", "No AP, measured or published.")
        if group.dtype == groups[0].dtype:
            parts += [element("h3", group.title), inside]
        else:
            parts.append(folded(group.title, inside))
    return fragment(*parts)


def stage_bars(groups: list[Group]) -> Html:
    """A bar for every row with its time by stage; empty where no row has it."""
    parts = []
    for group in groups:
        bars = [bar for line in group.lines if (bar := _stage_bar(line)) is not None]
        if bars:
            longest = max(sum(segment.value for segment in bar.segments) for bar in bars)
            parts += [element("h3", group.title), stacked_bars(bars, longest)]
    if not parts:
        return fragment()
    titles = STAGE_TITLES | {"mask_pasting": "mask pasting (not in the inference time)"}
    return fragment(legend((swatch(STAGE_COLOURS[name]), title) for name, title in titles.items()), *parts)


def colour_of(body: str) -> str:
    """The colour of a body's family."""
    return next((colour for pattern, colour in FAMILY_COLOURS if re.match(pattern, body)), OTHER_COLOUR)


def _stage_bar(line: Line) -> Bar | None:
    if line.row.inference is None or line.row.inference.split is None:
        return None
    segments = [
        Segment(STAGE_TITLES[name], value, f"{milliseconds(value)} ms", STAGE_COLOURS[name])
        for name, value in stage_values(line.row.inference.split).items()
        if value is not None
    ]
    total = sum(segment.value for segment in segments)
    return Bar(line.label, segments, f"{milliseconds(total)} ms")


def _figure(group: Group, quantity: Quantity, score: Score) -> Html:
    """One plot, relative to R-50 where that was measured; else measured values, without published ones."""
    bases = _measured_bases(group, quantity)
    points = [point for line in group.lines for point in _points(line, quantity, score, bases is not None)]
    title = f"{score.title} against {quantity.title}"
    caption = f"{title}, {group.title}"
    if not points:
        return element("figure", element("figcaption", f"{caption}: nothing was measured."))
    x_title = f"{quantity.title}, relative to R-50"
    scale = None
    if bases is None:
        title += ". R-50 was not measured, so published points have no place here"
        x_title = f"{quantity.title}, {quantity.unit}, measured"
    elif len(bases) == 1:
        x_title, scale = f"{x_title} (and measured)", (bases[0], quantity.unit)
    key = re.sub(r"\W+", "-", f"{group.title}-{quantity.key}-{score.key}").lower()
    svg = scatter(key, caption, x_title, points, scale)
    return element("figure", element("figcaption", title), svg)


def _measured_bases(group: Group, quantity: Quantity) -> list[float] | None:
    """The distinct measured values of the R-50 rows that the lines compare with; None where one has none."""
    bases: list[float] = []
    for line in group.lines:
        pair = quantity.of(line)
        if pair.measured is None:
            continue
        if pair.measured_ratio is None:
            return None
        base = pair.measured / pair.measured_ratio
        if not any(math.isclose(base, other, rel_tol=1e-9) for other in bases):
            bases.append(base)
    return bases or None


def _points(line: Line, quantity: Quantity, score: Score, is_relative: bool) -> list[Point]:
    pair, found = quantity.of(line), []
    measured_ap, published_ap = score.measured(line), score.published(line)
    name, colour = line.label, colour_of(line.body)
    if is_relative and pair.published_ratio is not None and published_ap is not None:
        words = (
            f"{name}, published: {score.title} {published_ap.ap:.1f} at {pair.published_ratio:.2f} of R-50"
        )
        found.append(Point(name, colour, "hollow", pair.published_ratio, published_ap.ap, words))
    ap = measured_ap or published_ap
    x = pair.measured_ratio if is_relative else pair.measured
    if x is not None and ap is not None:
        origin = "measured" if measured_ap else "published"
        value = f"{milliseconds(pair.measured)} ms" if quantity.unit == "ms" else f"{pair.measured:.2f} GB"
        words = f"{name}: {value} measured"
        words += f", {x:.2f} of R-50" if is_relative else ""
        words += f", {score.title} {ap.ap:.1f} {origin}"
        found.append(Point(name, colour, "full" if measured_ap else "half", x, ap.ap, words))
    return found
