"""report.html: one file that opens offline, on a phone and in the dark; no script, nothing loaded."""

from __future__ import annotations

import os

from maskrcnn_benchmark.benchmark.report import sentences, tables
from maskrcnn_benchmark.benchmark.report.beside_published import report_groups
from maskrcnn_benchmark.benchmark.report.html_main_table import main_table
from maskrcnn_benchmark.benchmark.report.html_plots import plots, stage_bars
from maskrcnn_benchmark.benchmark.results import Results
from maskrcnn_benchmark.html.elements import (
    Html,
    bullets,
    definitions,
    element,
    folded,
    fragment,
    section,
)
from maskrcnn_benchmark.html.page import page, page_header
from maskrcnn_benchmark.html.tables import plain_table
from maskrcnn_benchmark.utils.whole_file import open_whole

HTML_FILE = "report.html"


def write_html(results: Results, path: str | os.PathLike[str]) -> None:
    """Writes report.html, whole or not at all."""
    with open_whole(path) as file:
        file.write(html_text(results))


def html_text(results: Results) -> str:
    """The whole of report.html."""
    environment = results.environment
    first, *others = sentences.headline(results)
    return page(
        f"Benchmark: {environment.device}, {environment.date[:10]}",
        page_header("Benchmark", first, others),
        _rows(results),
        *_figures(results),
        *_details(results),
        *_origins(results),
    )


def _rows(results: Results) -> Html:
    parts = [main_table(report_groups(results)), bullets(sentences.HOW_TO_READ)]
    pairs = tables.pairs_table(results)
    if pairs is not None:
        parts += [element("h3", pairs.title), plain_table(pairs)]
    if unfinished := sentences.unfinished(results):
        parts += [element("h3", "Rows that did not finish"), bullets(unfinished)]
    if notes := sentences.row_notes(results):
        parts += [element("h3", "Notes on single rows"), bullets(notes)]
    return section("Measured and published", *parts)


def _figures(results: Results) -> list[Html]:
    groups = report_groups(results)
    parts = [section("AP against time and memory", plots(groups))] if groups else []
    stages = tables.stage_table(results)
    if stages is not None:
        parts.append(section("Time by stage", stage_bars(groups), folded("The numbers", plain_table(stages))))
    return parts


def _details(results: Results) -> list[Html]:
    found = (tables.size_table(results), tables.peers_table(results), tables.saved_table(results))
    return [section(table.title, plain_table(table)) for table in found if table is not None and table.rows]


def _origins(results: Results) -> list[Html]:
    """How it was measured, others' numbers, the machine."""
    published = tables.published_table()
    sources = bullets(
        fragment(element("a", source.title, href=source.url), f", {sentences.source_words(source)}")
        for source in sentences.published_sources()
    )
    return [
        section("How it was measured", definitions(sentences.protocol_lines(results))),
        section(published.title, plain_table(published), sources),
        section("Environment and settings", definitions(sentences.environment_lines(results))),
    ]
