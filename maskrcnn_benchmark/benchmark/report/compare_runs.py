"""What changed between two runs, and whether it is more than noise (compare_rows.py says what noise is)."""

from __future__ import annotations

import dataclasses
import math

from maskrcnn_benchmark.benchmark.report.compare_rows import Change, row_changes
from maskrcnn_benchmark.benchmark.report.quantities import NOT_THERE
from maskrcnn_benchmark.benchmark.results import Results
from maskrcnn_benchmark.benchmark.row import OURS, Row
from maskrcnn_benchmark.data.datasets.evaluation.coco.results import text_table

# Of the environment, what is expected to differ between two runs and stands in their first lines anyway.
_ALWAYS_SHOWN = ("date", "commit")
# Settings that decide which images a run measures.
_PAIRING = ("images", "quick", "images_per_process", "short_side", "long_side", "sizes_from", "seed")

Key = tuple[str, str, str]


def compare(before: Results, after: Results, names: tuple[str, str] = ("before", "after")) -> str:
    """The two runs beside each other: what sets them apart, what changed, what stands in one only.

    Args:
        names: what to call the two, their files' names for instance.
    """
    ours, theirs = _by_key(before), _by_key(after)
    is_paired = all(getattr(before.settings, name) == getattr(after.settings, name) for name in _PAIRING)
    lines: list[list[str]] = []
    num_equal = 0
    for key, row in ours.items():
        if key not in theirs:
            continue
        if row.status != theirs[key].status:
            lines.append([*_names(row), "status", row.status, theirs[key].status, "", "", "changed"])
        changes = list(row_changes(row, theirs[key], is_paired))
        lines += [_cells(row, change) for change in changes if change.values[0] != change.values[1]]
        num_equal += sum(None is not change.values[0] == change.values[1] for change in changes)
    header = ("Row", "dtype", "What", *names, "Change", "Noise", "Verdict")
    parts = [_run(names[0], before), _run(names[1], after), _apart(before, after)]
    parts.append(text_table(header, lines, text_columns=3) if lines else "No number differs.")
    parts.append(_summary(lines, num_equal, is_paired))
    parts += [_only(names[0], ours, theirs), _only(names[1], theirs, ours)]
    return "\n\n".join(part for part in parts if part)


def _by_key(results: Results) -> dict[Key, Row]:
    """All rows and peers by what makes them the same in another run."""
    return {(row.implementation, row.name, row.dtype): row for row in (*results.rows, *results.peers)}


def _names(row: Row) -> tuple[str, str]:
    return (row.name if row.implementation == OURS else f"{row.name} ({row.implementation})"), row.dtype


def _cells(row: Row, change: Change) -> list[str]:
    difference, noise = NOT_THERE, NOT_THERE
    if change.logarithm is not None:
        difference = f"{100 * math.expm1(change.logarithm):+.1f} %"
        noise = change.noise_words
    return [*_names(row), change.what, *change.shown, difference, noise, change.verdict]


def _run(name: str, results: Results) -> str:
    environment = results.environment
    return f"{name}: {environment.date}, commit {environment.commit}, {environment.device}"


def _apart(before: Results, after: Results) -> str:
    """What else than the code differs, entry by entry; "" where the runs are alike."""
    found = []
    for one, other in ((before.environment, after.environment), (before.settings, after.settings)):
        for field in dataclasses.fields(one):
            values = getattr(one, field.name), getattr(other, field.name)
            if values[0] != values[1] and field.name not in _ALWAYS_SHOWN:
                found.append(f"- {field.name}: {values[0]} | {values[1]}")
    return "The runs differ in more than the code:\n" + "\n".join(found) if found else ""


def _summary(lines: list[list[str]], num_equal: int, is_paired: bool) -> str:
    num_within = sum(line[-1] == "within noise" for line in lines)
    how = (
        "nine tenths of the single images' (steps') changes lie so close to the median change"
        if is_paired
        else "from the medians to the 90th percentiles; with these settings the images do not pair"
    )
    counts = f"{num_within} of {len(lines)} differences within noise, {num_equal} numbers equal."
    return f"{counts}\nNoise: {how}."


def _only(name: str, here: dict[Key, Row], there: dict[Key, Row]) -> str:
    rows = [", ".join(_names(row)) for key, row in here.items() if key not in there]
    return f"Only in {name}: {'; '.join(rows)}" if rows else ""
