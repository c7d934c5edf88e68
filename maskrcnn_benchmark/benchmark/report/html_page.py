"""report.html: one file that opens offline, on a phone and in the dark; no script, nothing loaded."""

from __future__ import annotations

import os
from pathlib import Path
from string import Template

from maskrcnn_benchmark.benchmark.report import sentences as words
from maskrcnn_benchmark.benchmark.report import tables
from maskrcnn_benchmark.benchmark.report.beside_published import report_groups
from maskrcnn_benchmark.benchmark.report.html_bars import stage_bars
from maskrcnn_benchmark.benchmark.report.html_plots import plots
from maskrcnn_benchmark.benchmark.report.html_tables import (
    bullets,
    definitions,
    main_table,
    plain_table,
    text,
)
from maskrcnn_benchmark.benchmark.results import Results
from maskrcnn_benchmark.utils.whole_file import open_whole

HTML_FILE = "report.html"
TEMPLATE_FILE = Path(__file__).with_name("report_template.html")


def write_html(results: Results, path: str | os.PathLike[str]) -> None:
    """Writes report.html, whole or not at all."""
    with open_whole(path) as file:
        file.write(html_text(results))


def html_text(results: Results) -> str:
    """The whole of report.html."""
    environment = results.environment
    title = f"Benchmark: {environment.device}, {environment.date[:10]}"
    sections = [_opening(results), _rows(results), _figures(results), _details(results), _origins(results)]
    template = Template(TEMPLATE_FILE.read_text(encoding="utf-8"))
    return template.substitute(title=text(title), content="\n".join(sections))


def _opening(results: Results) -> str:
    first, *others = words.headline(results)
    notice = (
        f'<div class="notice">{"".join(f"<p>{text(line)}</p>" for line in others)}</div>' if others else ""
    )
    return f'<header><h1>Benchmark</h1><p class="lead">{text(first)}</p>{notice}</header>'


def _rows(results: Results) -> str:
    parts = [
        f"<h2>Measured and published</h2>{main_table(report_groups(results))}",
        bullets(words.HOW_TO_READ),
    ]
    pairs = tables.pairs_table(results)
    if pairs is not None:
        parts.append(f"<h3>{text(pairs.title)}</h3>{plain_table(pairs)}")
    if unfinished := words.unfinished(results):
        parts.append(f"<h3>Rows that did not finish</h3>{bullets(unfinished)}")
    if notes := words.row_notes(results):
        parts.append(f"<h3>Notes on single rows</h3>{bullets(notes)}")
    return f"<section>{''.join(parts)}</section>"


def _figures(results: Results) -> str:
    groups = report_groups(results)
    parts = []
    if groups:
        parts.append(f"<section><h2>AP against time and memory</h2>{plots(groups)}</section>")
    stages = tables.stage_table(results)
    if stages is not None:
        numbers = f"<details><summary>The numbers</summary>{plain_table(stages)}</details>"
        parts.append(f"<section><h2>Time by stage</h2>{stage_bars(groups)}{numbers}</section>")
    return "".join(parts)


def _details(results: Results) -> str:
    found = (tables.size_table(results), tables.peers_table(results), tables.saved_table(results))
    return "".join(
        f"<section><h2>{text(table.title)}</h2>{plain_table(table)}</section>"
        for table in found
        if table is not None and table.rows
    )


def _origins(results: Results) -> str:
    """How it was measured, others' numbers, the machine."""
    published = tables.published_table()
    sources = "".join(
        f'<li><a href="{text(source.url)}">{text(source.title)}</a>, {text(words.source_words(source))}</li>'
        for source in words.published_sources()
    )
    return (
        f"<section><h2>How it was measured</h2>{definitions(words.protocol_lines(results))}</section>"
        f"<section><h2>{text(published.title)}</h2>{plain_table(published)}<ul>{sources}</ul></section>"
        f"<section><h2>Environment and settings</h2>{definitions(words.environment_lines(results))}</section>"
    )
