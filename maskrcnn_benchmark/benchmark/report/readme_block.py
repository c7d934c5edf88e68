"""The benchmark table of README.md: a block between two markers, written from dated results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from maskrcnn_benchmark.benchmark.report.beside_published import Line, report_groups
from maskrcnn_benchmark.benchmark.report.html_page import HTML_FILE
from maskrcnn_benchmark.benchmark.report.markdown_page import TABLE_FILE
from maskrcnn_benchmark.benchmark.report.quantities import (
    NOT_THERE,
    memory_text,
    milliseconds,
    number,
    ratio,
)
from maskrcnn_benchmark.benchmark.report.sentences import headline, unfinished
from maskrcnn_benchmark.benchmark.results import RESULTS_FILE, Results, load_results
from maskrcnn_benchmark.utils.text_table import text_table

BEGIN, END = "<!-- benchmark table: begin -->", "<!-- benchmark table: end -->"
WRITER = "maskrcnn-benchmark readme-table"
_HEADER = (
    *("Backbone", "Detector", "dtype", "Train mem, GB", "to R-50", "Inference, ms", "to R-50"),
    *("Box AP", "Mask AP"),
)


def updated_readme(text: str, folder: Path, results_folder: str = "benchmarks/results") -> str:
    """The README with the block of its markers written anew.

    Args:
        text: of the README.
        folder: the project's; the results lie in its `results_folder`.

    Raises:
        ValueError: results without markers to stand between, markers that do not make one pair, a result that
            cannot be read.
    """
    runs = newest_runs(folder / results_folder)
    if BEGIN not in text and END not in text:
        if runs:
            raise ValueError(
                f"README.md has no place for the runs in {results_folder} ({', '.join(runs)}): put the lines "
                f"{BEGIN} and {END} where the table is to stand"
            )
        return text
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"README.md: {BEGIN} and {END} must stand there once each, in this order")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    links = {name: _links(folder, f"{results_folder}/{name}") for name in runs}
    return f"{before}{BEGIN}\n{block(runs, links)}\n{END}{after}"


def newest_runs(results_folder: Path) -> dict[str, Results]:
    """Of every machine the newest run, by the name of its folder; a quick one only where there is no other.

    Raises:
        ValueError: a result that cannot be read.
    """
    runs = {path.parent.name: load_results(path) for path in results_folder.glob(f"*/{RESULTS_FILE}")}
    newest: dict[str, str] = {}
    for name in sorted(runs, key=lambda name: (not runs[name].settings.quick, runs[name].environment.date)):
        newest[runs[name].environment.device] = name
    return {name: runs[name] for name in sorted(newest.values())}


def block(runs: Mapping[str, Results], links: Mapping[str, str]) -> str:
    """What stands between the markers: each run's machine, date and commit over its table."""
    if not runs:
        return f"No result has been recorded yet ({WRITER} writes this block)."
    parts = [
        f"Written by `{WRITER}` from `benchmarks/results`. In parentheses the published numbers, of other "
        "hardware: compare the ratios to R-50 of the same detector, not the numbers. GB is 10⁹ bytes."
    ]
    for name, results in runs.items():
        rows = [_cells(line) for group in report_groups(results) for line in group.lines]
        parts += [" ".join([*headline(results), links[name]]), text_table(_HEADER, rows, text_columns=3)]
        if missing := unfinished(results):
            parts.append("\n".join(f"- {sentence}" for sentence in missing))
    return "\n\n".join(parts).replace("<", "&lt;")


def _links(folder: Path, run: str) -> str:
    """The files of a run, those that there are."""
    there = [name for name in (TABLE_FILE, HTML_FILE, RESULTS_FILE) if (folder / run / name).exists()]
    return "Everything: " + ", ".join(f"[{name}]({run}/{name})" for name in there) + "."


def _cells(line: Line) -> list[str]:
    boxes, masks = (line.box_ap, line.published_box_ap), (line.mask_ap, line.published_mask_ap)
    return [
        *(line.label, line.row.detector, line.row.dtype),
        _pair(memory_text(line.row, line.missing), number(line.memory.published)),
        _pair(ratio(line.memory.measured_ratio), ratio(line.memory.published_ratio)),
        _pair(milliseconds(line.time.measured, line.missing), number(line.time.published, 0)),
        _pair(ratio(line.time.measured_ratio), ratio(line.time.published_ratio)),
        *(_pair(*(number(None if ap is None else ap.ap) for ap in aps)) for aps in (boxes, masks)),
    ]


def _pair(measured: str, published: str) -> str:
    """ "3.46 (3.9)": measured, and published in parentheses."""
    return measured if published == NOT_THERE else f"{measured} ({published})"
