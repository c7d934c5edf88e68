"""What the plots of a report show: which points, from which numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

from maskrcnn_benchmark.benchmark.published import AreaAP
from maskrcnn_benchmark.benchmark.report.beside_published import Beside, Group, Line
from maskrcnn_benchmark.benchmark.report.html_tables import text
from maskrcnn_benchmark.benchmark.report.number_text import milliseconds
from maskrcnn_benchmark.benchmark.report.svg_scatter import Point, marker_sample, scatter

FAMILIES = (("V2?-", "vovnet"), ("[RW]-", "resnet"), ("X-", "resnext"))
LEGEND = (
    ("full", "measured, with measured AP"),
    ("half", "measured, with the published AP (none was measured)"),
    ("hollow", "published, on the published hardware"),
)


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


def plots(groups: list[Group]) -> str:
    """All plots: those of the first computing type in sight, others behind a switch."""
    legend = "".join(f"<li>{marker_sample(kind)}{text(words)}</li>" for kind, words in LEGEND)
    parts = [f'<ul class="legend">{legend}</ul>']
    for group in groups:
        figures = [
            _figure(group, quantity, score)
            for score in SCORES
            for quantity in QUANTITIES
            if any(score.measured(line) or score.published(line) for line in group.lines)
        ]
        inside = (
            f'<div class="plots">{"".join(figures)}</div>'
            if figures
            else "<p>No AP, measured or published.</p>"
        )
        if group.dtype == groups[0].dtype:
            parts.append(f"<h3>{text(group.title)}</h3>{inside}")
        else:
            parts.append(f"<details><summary>{text(group.title)}</summary>{inside}</details>")
    return "".join(parts)


def family_of(body: str) -> str:
    """The kind of body, which gives the colour."""
    return next((family for pattern, family in FAMILIES if re.match(pattern, body)), "other")


def _figure(group: Group, quantity: Quantity, score: Score) -> str:
    """One plot, relative to R-50 where that was measured; else measured values, without published ones."""
    bases = _measured_bases(group, quantity)
    points = [point for line in group.lines for point in _points(line, quantity, score, bases is not None)]
    title = f"{score.title} against {quantity.title}"
    caption = f"{title}, {group.title}"
    if not points:
        return f"<figure><figcaption>{text(caption)}: nothing was measured.</figcaption></figure>"
    x_title = f"{quantity.title}, relative to R-50"
    scale = None
    if bases is None:
        x_title = f"{quantity.title}, {quantity.unit}, measured"
    elif len(bases) == 1:
        x_title, scale = f"{x_title} (and measured)", (bases[0], quantity.unit)
    key = re.sub(r"\W+", "-", f"{group.title}-{quantity.key}-{score.key}").lower()
    svg = scatter(key, caption, x_title, points, scale)
    note = "" if bases is not None else ". R-50 was not measured, so that published points have no place here"
    return f"<figure><figcaption>{text(title + note)}</figcaption>{svg}</figure>"


def _measured_bases(group: Group, quantity: Quantity) -> list[float] | None:
    """The measured values of the R-50 that the lines are relative to, each once; None where one has none."""
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
    name, family = line.label, family_of(line.body)
    if is_relative and pair.published_ratio is not None and published_ap is not None:
        words = (
            f"{name}, published: {score.title} {published_ap.ap:.1f} at {pair.published_ratio:.2f} of R-50"
        )
        found.append(Point(name, family, "hollow", pair.published_ratio, published_ap.ap, words))
    ap = measured_ap or published_ap
    x = pair.measured_ratio if is_relative else pair.measured
    if x is not None and ap is not None:
        origin = "measured" if measured_ap else "published"
        value = f"{milliseconds(pair.measured)} ms" if quantity.unit == "ms" else f"{pair.measured:.2f} GB"
        words = f"{name}: {value} measured"
        words += f", {x:.2f} of R-50" if is_relative else ""
        words += f", {score.title} {ap.ap:.1f} {origin}"
        found.append(Point(name, family, "full" if measured_ap else "half", x, ap.ap, words))
    return found
