"""What a report says of each row: measured beside published, each relative to its own R-50.

Hardware differs between the two, so only the ratios compare. markdown_page.py and html_page.py show these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from maskrcnn_benchmark.benchmark.published import (
    BASELINE_BODY,
    AreaAP,
    PublishedRow,
    baseline_of,
    find_published,
)
from maskrcnn_benchmark.benchmark.report.quantities import comparable_memory, missing_word, quotient, time_ms
from maskrcnn_benchmark.benchmark.results import Results
from maskrcnn_benchmark.benchmark.row import Row


class Beside(NamedTuple):
    """One quantity, measured and published; the ratios are to R-50 of the same detector. None: not known."""

    measured: float | None
    published: float | None
    measured_ratio: float | None
    published_ratio: float | None


@dataclass(frozen=True)
class Line:
    """One measured row with what was published of it.

    Attributes:
        label: the backbone, and what tells it from others of this backbone where there are several.
        memory: of training, in GB of 10^9 bytes, of the kind that compares (quantities.py).
        time: of one image, in milliseconds.
        box_ap, mask_ap: measured, in percent.
        missing: what to say where a measured number is absent: "-", "out of memory" or "failed".
    """

    row: Row
    label: str
    published: PublishedRow | None
    memory: Beside
    time: Beside
    box_ap: AreaAP | None
    mask_ap: AreaAP | None
    missing: str

    @property
    def body(self) -> str:
        return body_of(self.row)

    @property
    def published_box_ap(self) -> AreaAP | None:
        return None if self.published is None else self.published.box_ap

    @property
    def published_mask_ap(self) -> AreaAP | None:
        return None if self.published is None else self.published.mask_ap


class Group(NamedTuple):
    """The lines of one detector in one dtype."""

    detector: str
    dtype: str
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        return f"{self.detector}, {self.dtype}"


def report_groups(results: Results) -> list[Group]:
    """All rows of a run, grouped by detector and dtype, in the order of the run."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for row in results.rows:
        groups.setdefault((row.detector, row.dtype), []).append(make_line(row, results.rows))
    return [Group(*key, tuple(lines)) for key, lines in groups.items()]


def make_line(row: Row, rows: Sequence[Row]) -> Line:
    """A row beside its published one; its R-50 is looked for among `rows`."""
    base = _baseline_row(row, rows)
    published = find_published(row.config)
    published_base = None if published is None else baseline_of(published)
    memory_of = comparable_memory(rows)
    return Line(
        row=row,
        label=label_of(row, rows),
        published=published,
        memory=_beside(memory_of, lambda known: known.memory_gb, (row, base), (published, published_base)),
        time=_beside(time_ms, lambda known: known.milliseconds, (row, base), (published, published_base)),
        box_ap=_area_ap(row.ap.box if row.ap else None),
        mask_ap=_area_ap(row.ap.mask if row.ap else None),
        missing=missing_word(row),
    )


def body_of(row: Row) -> str:
    """ "V-39" of V-39-FPN, "V-39-GN" of V-39-FPN-GN."""
    return row.backbone.replace("-FPN", "", 1)


def label_of(row: Row, rows: Sequence[Row]) -> str:
    """ "R-50", or where several of `rows` are such, "R-50 (1x, caffe)" or with the row's name."""
    kind = (row.implementation, row.detector, row.dtype, body_of(row))
    same = [one for one in rows if (one.implementation, one.detector, one.dtype, body_of(one)) == kind]
    if len(same) < 2:
        return body_of(row)
    published = find_published(row.config)
    return f"{body_of(row)} ({row.name if published is None else published.kind})"


def _baseline_row(row: Row, rows: Sequence[Row]) -> Row | None:
    """R-50 of the same implementation, detector and dtype.

    Of several it is the one that the published row is relative to, else that of the same schedule. (They
    differ in more than the schedule: the 1x configs freeze two stages, which saves memory.)
    """
    kind = (row.implementation, row.detector, row.dtype)
    candidates = [
        other
        for other in rows
        if body_of(other) == BASELINE_BODY and (other.implementation, other.detector, other.dtype) == kind
    ]
    published = find_published(row.config)
    base = None if published is None else baseline_of(published)

    def distance(other: Row) -> tuple[bool, bool]:
        return find_published(other.config) is not base, _schedule(other) != _schedule(row)

    return min(candidates, key=distance, default=None)


def _schedule(row: Row) -> str:
    found = re.search(r"_(\dx)(?![0-9a-z])", row.config)
    return found.group(1) if found else ""


def _beside(
    measured_of: Callable[[Row], float | None],
    published_of: Callable[[PublishedRow], float | None],
    rows: tuple[Row, Row | None],
    published: tuple[PublishedRow | None, PublishedRow | None],
) -> Beside:
    """One quantity of a row and of its published row; the second of each pair is its R-50."""
    values = [None if one is None else measured_of(one) for one in rows]
    others = [None if one is None else published_of(one) for one in published]
    return Beside(values[0], others[0], quotient(*values), quotient(*others))


def _area_ap(scores: dict[str, float | None] | None) -> AreaAP | None:
    """The evaluator's scores (0..1) in percent."""
    if scores is None or scores.get("AP") is None:
        return None
    ap, small, medium, large = (
        None if scores.get(name) is None else 100 * float(scores[name] or 0.0)
        for name in ("AP", "APs", "APm", "APl")
    )
    return AreaAP(float(ap or 0.0), small, medium, large)
