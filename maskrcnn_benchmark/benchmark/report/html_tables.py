"""Pieces of report.html: escaped text, tables that scroll inside their own container, lists."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from maskrcnn_benchmark.benchmark.published import AreaAP
from maskrcnn_benchmark.benchmark.report.beside_published import Group, Line
from maskrcnn_benchmark.benchmark.report.number_text import (
    NOT_THERE,
    area_text,
    milliseconds,
    number,
    ratio,
)
from maskrcnn_benchmark.benchmark.report.quantities import memory_gb, tensors_gb
from maskrcnn_benchmark.benchmark.report.tables import Table

# Title over each group of columns of the main table, and the columns under it.
_FOUR = ("measured", "published", "to R-50", "published to R-50")
_COLUMN_GROUPS = (
    ("Training memory, GB", _FOUR),
    ("Inference, ms", _FOUR),
    ("Box AP", _FOUR[:2]),
    ("Mask AP", _FOUR[:2]),
)
LONG_CELL = 15  # letters
_NUM_COLUMNS = 1 + sum(len(columns) for _, columns in _COLUMN_GROUPS)


def text(value: object) -> str:
    """Text for HTML, in an element or in a quoted attribute."""
    return html.escape(str(value))


def bullets(items: Iterable[str]) -> str:
    """A list of texts."""
    return "<ul>" + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>"


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they stand for."""
    return "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in pairs) + "</dl>"


def scrolling(table: str, label: str) -> str:
    """A table wider than the screen scrolls by itself, by keyboard too, and the page does not."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{text(label)}">{table}</div>'


def plain_table(table: Table) -> str:
    """A table of words and numbers."""
    head = "".join(_header_cell(name, i, table.text_columns) for i, name in enumerate(table.header))
    body = "".join(f"<tr>{_plain_cells(row, table.text_columns)}</tr>" for row in table.rows)
    caption = f"<caption>{text(table.note)}</caption>" if table.note else ""
    whole = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return scrolling(whole, table.title)


def main_table(groups: Sequence[Group]) -> str:
    """Measured beside published, with the ratios of both, grouped by detector and computing type."""
    top = "".join(
        f'<th scope="colgroup" colspan="{len(columns)}" class="start">{text(title)}</th>'
        for title, columns in _COLUMN_GROUPS
    )
    under = "".join(
        f'<th scope="col" class="{_classes(i == 0, name)}">{_unbroken(name)}</th>'
        for _, columns in _COLUMN_GROUPS
        for i, name in enumerate(columns)
    )
    bodies = "".join(_group_body(group) for group in groups)
    whole = (
        '<table id="main"><thead><tr><th scope="col" rowspan="2" class="first">Backbone</th>'
        f"{top}</tr><tr>{under}</tr></thead>{bodies}</table>"
    )
    return scrolling(whole, "Measured and published rows")


def _group_body(group: Group) -> str:
    title = f"<span>{text(group.title)}</span>"
    head = f'<tr><th scope="rowgroup" colspan="{_NUM_COLUMNS}" class="group">{title}</th></tr>'
    return f"<tbody>{head}{''.join(_main_row(line) for line in group.lines)}</tbody>"


def _main_row(line: Line) -> str:
    groups = (
        (
            _memory(line),
            text(number(line.memory.published)),
            text(ratio(line.memory.measured_ratio)),
            text(ratio(line.memory.published_ratio)),
        ),
        (
            text(milliseconds(line.time.measured, line.missing)),
            text(number(line.time.published, 0)),
            text(ratio(line.time.measured_ratio)),
            text(ratio(line.time.published_ratio)),
        ),
        (_areas(line.box_ap), _areas(line.published_box_ap)),
        (_areas(line.mask_ap), _areas(line.published_mask_ap)),
    )
    cells = "".join(
        f'<td class="{_classes(i == 0, _FOUR[i], cell == line.missing != NOT_THERE)}">{cell}</td>'
        for group in groups
        for i, cell in enumerate(group)
    )
    return f'<tr data-row="{text(line.row.name)}">{_row_title(line.label)}{cells}</tr>'


def _memory(line: Line) -> str:
    """Training memory, and under it that of tensors where it is another."""
    tensors = tensors_gb(line.row)
    under = "" if tensors is None else f"<small>tensors {number(tensors, 2)}</small>"
    return text(number(memory_gb(line.row), 2, line.missing)) + under


def _areas(value: AreaAP | None) -> str:
    """AP, and under it that of small, medium and large objects."""
    if value is None or value[1:] == (None, None, None):
        return text(area_text(value))
    areas = "/".join(number(entry) for entry in value[1:])
    return f"{number(value.ap)}<small>{text(areas)}</small>"


def _unbroken(name: str) -> str:
    """A column's name that breaks before "to R-50" alone."""
    return text(name).replace("to R-50", "to&nbsp;R&#8209;50")


def _classes(starts_group: bool, column: str, is_bad: bool = False) -> str:
    names = (
        ("start", starts_group),
        ("published", column.startswith("published")),
        ("bad", is_bad),
    )
    return " ".join(name for name, holds in names if holds)


def _header_cell(name: str, index: int, text_columns: int) -> str:
    kind = "first" if index == 0 else "words" if index < text_columns else ""
    return f'<th scope="col" class="{kind}">{text(name)}</th>'


def _plain_cells(row: Sequence[str], text_columns: int) -> str:
    return _row_title(row[0]) + "".join(
        f'<td class="{_word_classes(cell) if i < text_columns else ""}">{text(cell)}</td>'
        for i, cell in enumerate(row[1:], start=1)
    )


def _row_title(name: str) -> str:
    return f'<th scope="row" class="first {_word_classes(name)}">{text(name)}</th>'


def _word_classes(cell: str) -> str:
    """Words stand in one line unless they are many."""
    return "words long" if len(cell) > LONG_CELL else "words"
