"""The main table of report.html: measured beside published, under titles that span their columns."""

from __future__ import annotations

from collections.abc import Sequence

from maskrcnn_benchmark.benchmark.published import AreaAP
from maskrcnn_benchmark.benchmark.report.beside_published import Beside, Group, Line
from maskrcnn_benchmark.benchmark.report.quantities import (
    NOT_THERE,
    area_text,
    memory_gb,
    milliseconds,
    number,
    ratio,
    tensors_gb,
)
from maskrcnn_benchmark.html.elements import Html, element, fragment
from maskrcnn_benchmark.html.tables import row_title, scrolling

# Title over each group of columns, and the columns under it.
_FOUR = ("measured", "published", "to R-50", "published to R-50")
_COLUMN_GROUPS = (
    ("Training memory, GB", _FOUR),
    ("Inference, ms", _FOUR),
    ("Box AP", _FOUR[:2]),
    ("Mask AP", _FOUR[:2]),
)
_NUM_COLUMNS = 1 + sum(len(columns) for _, columns in _COLUMN_GROUPS)


def main_table(groups: Sequence[Group]) -> Html:
    """Measured beside published, with the ratios of both, grouped by detector and dtype."""
    top = (
        element("th", title, scope="colgroup", colspan=len(columns), class_="start")
        for title, columns in _COLUMN_GROUPS
    )
    under = (
        element("th", _unbroken(name), scope="col", class_=_classes(i == 0, name))
        for _, columns in _COLUMN_GROUPS
        for i, name in enumerate(columns)
    )
    corner = element("th", "Backbone", scope="col", rowspan=2, class_="first")
    head = element("thead", element("tr", corner, *top), element("tr", *under))
    whole = element("table", head, *(_group_body(group) for group in groups), id="main")
    return scrolling(whole, "Measured and published rows")


def _group_body(group: Group) -> Html:
    title = element("span", group.title)
    head = element("th", title, scope="rowgroup", colspan=_NUM_COLUMNS, class_="group")
    return element("tbody", element("tr", head), *(_row(line) for line in group.lines))


def _row(line: Line) -> Html:
    groups: tuple[tuple[str, ...], ...] = (
        (_memory(line), number(line.memory.published), *_ratios(line.memory)),
        (
            milliseconds(line.time.measured, line.missing),
            number(line.time.published, 0),
            *_ratios(line.time),
        ),
        (_areas(line.box_ap), _areas(line.published_box_ap)),
        (_areas(line.mask_ap), _areas(line.published_mask_ap)),
    )
    cells = (
        element("td", cell, class_=_classes(i == 0, _FOUR[i], cell == line.missing != NOT_THERE))
        for group in groups
        for i, cell in enumerate(group)
    )
    return element("tr", row_title(line.label), *cells, data_row=line.row.name)


def _ratios(beside: Beside) -> tuple[str, str]:
    return ratio(beside.measured_ratio), ratio(beside.published_ratio)


def _memory(line: Line) -> Html:
    """Training memory, and under it that of tensors where it is another."""
    whole, tensors = number(memory_gb(line.row), 2, line.missing), tensors_gb(line.row)
    return fragment(whole, *([] if tensors is None else [element("small", f"tensors {number(tensors, 2)}")]))


def _areas(value: AreaAP | None) -> Html:
    """AP, and under it that of small, medium and large objects."""
    if value is None or value[1:] == (None, None, None):
        return fragment(area_text(value))
    areas = "/".join(number(entry) for entry in value[1:])
    return fragment(number(value.ap), element("small", areas))


def _unbroken(name: str) -> str:
    """A column's name that breaks before "to R-50" alone: with no-break space and hyphen."""
    return name.replace("to R-50", "to\u00a0R\u201150")


def _classes(starts_group: bool, column: str, is_bad: bool = False) -> str | None:
    names = (
        ("start", starts_group),
        ("published", column.startswith("published")),
        ("bad", is_bad),
    )
    return " ".join(name for name, holds in names if holds) or None
