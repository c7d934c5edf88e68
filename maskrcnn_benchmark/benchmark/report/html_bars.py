"""The time by stage of a report as bars: SVG in percent of the width, so that letters keep their size."""

from __future__ import annotations

from maskrcnn_benchmark.benchmark.report.beside_published import Group
from maskrcnn_benchmark.benchmark.report.html_tables import text
from maskrcnn_benchmark.benchmark.report.number_text import milliseconds
from maskrcnn_benchmark.benchmark.report.tables import STAGE_TITLES, stage_values


def stage_bars(groups: list[Group]) -> str:
    """A bar for every row with its time by stage; "" where no row has it."""
    parts = []
    for group in groups:
        splits = [
            (line.label, stage_values(line.row.inference.split))
            for line in group.lines
            if line.row.inference and line.row.inference.split
        ]
        if splits:
            longest = max(sum(value or 0.0 for value in stages.values()) for _, stages in splits)
            rows = "".join(_bar(body, stages, longest) for body, stages in splits)
            parts.append(f'<h3>{text(group.title)}</h3><div class="bars">{rows}</div>')
    legend = "".join(_legend_entry(name, title) for name, title in STAGE_TITLES.items())
    return f'<ul class="legend">{legend}</ul>{"".join(parts)}' if parts else ""


def _legend_entry(name: str, title: str) -> str:
    square = f'<rect width="14" height="14" rx="2" style="fill: var(--{name})"/>'
    remark = " (not in the inference time)" if name == "mask_pasting" else ""
    return f'<li><svg width="14" height="14" aria-hidden="true">{square}</svg>{text(title)}{remark}</li>'


def _bar(body: str, stages: dict[str, float | None], longest: float) -> str:
    there = {name: value for name, value in stages.items() if value is not None}
    words = ", ".join(f"{STAGE_TITLES[name]} {milliseconds(value)} ms" for name, value in there.items())
    parts, start = [], 0.0
    for name, value in there.items():
        share = 100 * value / longest
        parts.append(
            f'<rect x="{start:.3f}%" width="{share:.3f}%" height="100%" style="fill: var(--{name})">'
            f"<title>{text(STAGE_TITLES[name])}: {milliseconds(value)} ms</title></rect>"
        )
        start += share
    total = milliseconds(sum(there.values()))
    return (
        f'<span>{text(body)}</span><svg role="img" aria-label="{text(body)}: {text(words)}">'
        f"{''.join(parts)}</svg>"
        f'<span class="total">{total} ms</span>'
    )
