"""The benchmark table of README.md: a block between two markers, written from dated results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.data.datasets.evaluation.coco.results import text_table
from maskrcnn_benchmark.engine.benchmark.report_numbers import NOT_THERE, milliseconds, number, ratio
from maskrcnn_benchmark.engine.benchmark.report_rows import Line, report_groups
from maskrcnn_benchmark.engine.benchmark.report_words import headline, unfinished
from maskrcnn_benchmark.engine.benchmark.results import Results, load_results

BEGIN, END = "<!-- benchmark table: begin -->", "<!-- benchmark table: end -->"
WRITER = "tools/update_readme_table.py"
RESULTS_PATTERN = "benchmark_*.json"
_HEADER = (
    *("Backbone", "Detector", "Type", "Train mem, GB", "to R-50", "Inference, ms", "to R-50"),
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
    paths = sorted((folder / results_folder).glob(RESULTS_PATTERN))
    if BEGIN not in text and END not in text:
        if paths:
            raise ValueError(
                f"README.md has no place for the results in {results_folder} ({paths[0].name}, ...): put the "
                f"lines {BEGIN} and {END} where the table is to stand"
            )
        return text
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"README.md: {BEGIN} and {END} must stand there once each, in this order")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    links = [_links(path, results_folder) for path in paths]
    content = block([load_results(path) for path in paths], links)
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def block(runs: Sequence[Results], links: Sequence[str]) -> str:
    """What stands between the markers: each run's machine, date and commit over its table."""
    if not runs:
        return f"No result has been recorded yet ({WRITER} writes this block)."
    parts = [
        f"Written by `{WRITER}` from `benchmarks/results`. In parentheses the published numbers, of other "
        "hardware: compare the ratios to R-50 of the same detector, not the numbers. GB is 10⁹ bytes."
    ]
    for results, link in zip(runs, links, strict=True):
        rows = [_cells(line) for group in report_groups(results) for line in group.lines]
        parts += [" ".join([*headline(results), link]), text_table(_HEADER, rows, text_columns=3)]
        if missing := unfinished(results):
            parts.append("\n".join(f"- {sentence}" for sentence in missing))
    return "\n\n".join(parts).replace("<", "&lt;")


def _links(path: Path, results_folder: str) -> str:
    """The files of a result, those that there are."""
    names = [path.with_suffix(suffix).name for suffix in (".json", ".md", ".html")]
    there = [name for name in names if path.with_name(name).exists()]
    return "Everything: " + ", ".join(f"[{name}]({results_folder}/{name})" for name in there) + "."


def _cells(line: Line) -> list[str]:
    boxes, masks = (line.box_ap, line.published_box_ap), (line.mask_ap, line.published_mask_ap)
    return [
        *(line.body, line.row.detector, line.row.dtype),
        _pair(number(line.memory.measured, 2, line.missing), number(line.memory.published)),
        _pair(ratio(line.memory.measured_ratio), ratio(line.memory.published_ratio)),
        _pair(milliseconds(line.time.measured, line.missing), number(line.time.published, 0)),
        _pair(ratio(line.time.measured_ratio), ratio(line.time.published_ratio)),
        *(_pair(*(number(None if ap is None else ap.ap) for ap in aps)) for aps in (boxes, masks)),
    ]


def _pair(measured: str, published: str) -> str:
    """ "3.46 (3.9)": measured, and published in parentheses."""
    return measured if published == NOT_THERE else f"{measured} ({published})"
