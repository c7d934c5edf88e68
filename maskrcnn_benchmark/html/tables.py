"""Tables of words and numbers; one that is wider than the screen scrolls inside its own container."""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnn_benchmark.html.elements import Html, element

LONG_CELL = 15  # letters: a cell of more may break into lines


@dataclass(frozen=True)
class Table:
    """Cells of text; the first `text_columns` columns are words, the others numbers.

    Attributes:
        note: stands above the table.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int
    note: str = ""


def plain_table(table: Table) -> Html:
    """The table with its first column as the rows' names; its title is for who cannot see it."""
    head = element("tr", *(_header_cell(name, i, table.text_columns) for i, name in enumerate(table.header)))
    body = (element("tr", *_cells(row, table.text_columns)) for row in table.rows)
    caption = [element("caption", table.note)] if table.note else []
    whole = element("table", *caption, element("thead", head), element("tbody", *body))
    return scrolling(whole, table.title)


def scrolling(table: Html, label: str) -> Html:
    """The table in a container that scrolls, by keyboard too, so that the page does not."""
    return element("div", table, class_="scroll", role="region", tabindex=0, aria_label=label)


def row_title(name: str) -> Html:
    """The first cell of a row, which stays in sight while the others scroll."""
    return element("th", name, scope="row", class_=f"first {_word_classes(name)}")


def _header_cell(name: str, index: int, text_columns: int) -> Html:
    kind = "first" if index == 0 else "words" if index < text_columns else None
    return element("th", name, scope="col", class_=kind)


def _cells(row: tuple[str, ...], text_columns: int) -> list[Html]:
    kinds = [_word_classes(cell) if i < text_columns else None for i, cell in enumerate(row)]
    others = zip(row[1:], kinds[1:], strict=True)
    return [row_title(row[0]), *(element("td", cell, class_=kind) for cell, kind in others)]


def _word_classes(cell: str) -> str:
    return "words long" if len(cell) > LONG_CELL else "words"
