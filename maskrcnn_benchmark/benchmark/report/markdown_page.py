"""table.md: a run's measured rows beside the published ones, with everything needed to read them."""

from __future__ import annotations

import os
from collections.abc import Iterable

from maskrcnn_benchmark.benchmark.report import sentences, tables
from maskrcnn_benchmark.benchmark.report.beside_published import Line, report_groups
from maskrcnn_benchmark.benchmark.report.quantities import (
    area_text,
    memory_text,
    milliseconds,
    number,
    ratio,
)
from maskrcnn_benchmark.benchmark.results import Results
from maskrcnn_benchmark.data.datasets.evaluation.coco.results import text_table
from maskrcnn_benchmark.html.tables import Table
from maskrcnn_benchmark.utils.whole_file import open_whole

TABLE_FILE = "table.md"
_HEADER = (
    *("Backbone", "Detector", "Train mem (GB)", "published", "to R-50", "published to R-50"),
    *("Inference (ms)", "published", "to R-50", "published to R-50"),
    *("Box AP/APs/APm/APl", "published", "Mask AP/APs/APm/APl", "published"),
)


def write_table(results: Results, path: str | os.PathLike[str]) -> None:
    """Writes table.md, whole or not at all."""
    with open_whole(path) as file:
        file.write(table_text(results))


def table_text(results: Results) -> str:
    """The whole of table.md."""
    parts = ["# Benchmark", "\n".join(sentences.headline(results))]
    parts += [main_table(results), _bullets(sentences.HOW_TO_READ)]
    if unfinished := sentences.unfinished(results):
        parts += ["## Rows that did not finish", _bullets(unfinished)]
    if notes := sentences.row_notes(results):
        parts += ["## Notes on single rows", _bullets(notes)]
    for table in (
        tables.pairs_table(results),
        tables.size_table(results),
        tables.stage_table(results),
        tables.peers_table(results),
        tables.saved_table(results),
    ):
        if table is not None:
            parts += [f"## {table.title}", _markdown(table)]
    protocol = (f"**{title}**: {sentence}" for title, sentence in sentences.protocol_lines(results))
    parts += ["## How it was measured", _bullets(protocol)]
    published = tables.published_table()
    sources = (
        f"[{source.title}]({source.url}), {sentences.source_words(source)}"
        for source in sentences.published_sources()
    )
    parts += [f"## {published.title}", published.note, _markdown(published), _bullets(sources)]
    environment = (f"{name}: {value}" for name, value in sentences.environment_lines(results))
    parts += ["## Environment and settings", _bullets(environment)]
    return "\n\n".join(parts).replace("<", "&lt;") + "\n"  # an error's own words are no tags


def main_table(results: Results) -> str:
    """Measured beside published, which people come for; one table per dtype, one below the other."""
    groups = report_groups(results)
    dtypes = list(dict.fromkeys(group.dtype for group in groups))
    parts = []
    for dtype in dtypes:
        rows = [_cells(line) for group in groups if group.dtype == dtype for line in group.lines]
        title = f"**{dtype}**\n\n" if len(dtypes) > 1 else ""
        parts.append(title + text_table(_HEADER, rows, text_columns=2))
    return "\n\n".join(parts)


def _cells(line: Line) -> list[str]:
    return [
        *(line.label, line.row.detector),
        *(memory_text(line.row, line.missing), number(line.memory.published)),
        *(ratio(line.memory.measured_ratio), ratio(line.memory.published_ratio)),
        *(milliseconds(line.time.measured, line.missing), number(line.time.published, 0)),
        *(ratio(line.time.measured_ratio), ratio(line.time.published_ratio)),
        *(area_text(line.box_ap), area_text(line.published_box_ap)),
        *(area_text(line.mask_ap), area_text(line.published_mask_ap)),
    ]


def _markdown(table: Table) -> str:
    return text_table(table.header, table.rows, table.text_columns)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
