"""Starts a run's results, without rows or with the finished rows of the folder's interrupted run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.benchmark.measure.protocol import describe_protocol
from maskrcnn_benchmark.benchmark.results import (
    RESULTS_FILE,
    SCHEMA_VERSION,
    Environment,
    Results,
    Settings,
    load_results,
)
from maskrcnn_benchmark.benchmark.row import FAILED, Row
from maskrcnn_benchmark.benchmark.typed_json import to_plain
from maskrcnn_benchmark.utils.whole_file import TEMPORARY_SUFFIX

# A run is continued only where these entries of the environment are as they were.
SAME_PLACE = ("device", "num_processes", "num_threads", "torch")
OTHER_COMMIT = "Measured at commit"


def start_results(environment: Environment, settings: Settings) -> Results:
    """The results of a run that has no rows yet."""
    protocol = describe_protocol(settings, environment.device_type)
    return Results(SCHEMA_VERSION, environment, settings, protocol, (), ())


def check_folder(folder: Path, is_resumed: bool) -> None:
    """Makes the folder of a run.

    Raises:
        ValueError: it cannot be written, holds a run without --resume, or holds none with it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=TEMPORARY_SUFFIX):
            pass
    except OSError as error:
        raise ValueError(f"--output-dir {str(folder)!r} cannot be written: {error}; give another") from error
    holds_run = (folder / RESULTS_FILE).exists()
    if holds_run and not is_resumed:
        raise ValueError(
            f"--output-dir {str(folder)!r} already holds the results of a run; continue it with --resume, or "
            "give another folder"
        )
    if is_resumed and not holds_run:
        raise ValueError(
            f"--resume: --output-dir {str(folder)!r} holds no {RESULTS_FILE}; give the folder of the run, or "
            "leave --resume out"
        )


def resume(folder: Path, new: Results) -> Results:
    """Adds the finished rows of the folder's run to `new`; failed ones are measured again.

    Raises:
        ValueError: that run had other settings, or took place elsewhere.
    """
    old = load_results(folder / RESULTS_FILE)
    here, there = to_plain(new.settings), to_plain(old.settings)
    places = _place(new.environment), _place(old.environment)
    differing = [
        f"{name} {then[name]!r} -> {now[name]!r}"
        for now, then in ((here, there), places)
        for name in now
        if now[name] != then[name]
    ]
    if differing:
        raise ValueError(
            f"--resume: {folder / RESULTS_FILE} is of another run: {'; '.join(differing)}. Ask for the same, "
            "or give another --output-dir"
        )
    rows, peers = (_kept(each, old.environment, new.environment) for each in (old.rows, old.peers))
    return replace(new, rows=rows, peers=peers)


def _kept(rows: Sequence[Row], old: Environment, new: Environment) -> tuple[Row, ...]:
    """The rows that need not be measured again, with a note where they are of another commit."""
    kept = [row for row in rows if row.status != FAILED]
    if old.commit == new.commit:
        return tuple(kept)
    note = f"{OTHER_COMMIT} {old.commit}, {old.date}."
    has_note = [any(each.startswith(OTHER_COMMIT) for each in row.notes) for row in kept]
    return tuple(
        row if noted else replace(row, notes=(*row.notes, note))
        for row, noted in zip(kept, has_note, strict=True)
    )


def _place(environment: Environment) -> dict[str, Any]:
    return {name: getattr(environment, name) for name in SAME_PLACE}
