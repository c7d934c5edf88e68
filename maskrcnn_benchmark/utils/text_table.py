"""Tables that read both as text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def percent(value: float) -> str:
    """0..1 as a percentage with one decimal; "-" for COCO's -1 (nothing to find)."""
    return "-" if value < 0 else f"{100 * value:.1f}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """A Markdown table that lines up as plain text too: `text_columns` columns to the left, others right."""
    # A bar inside a cell would end it; class names are the users' own.
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    left = [i < text_columns for i in range(len(header))]
    rule = [
        ":" + "-" * (width - 1) if text else "-" * (width - 1) + ":"
        for width, text in zip(widths, left, strict=True)
    ]
    lines = []
    for row in (cells[0], rule, *cells[1:]):
        padded = [
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, left, strict=True)
        ]
        lines.append("| " + " | ".join(padded) + " |")
    return "\n".join(lines)
