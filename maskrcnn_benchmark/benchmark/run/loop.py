"""A run: every row in processes of its own, kept as soon as it is finished, continued where it stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.benchmark.results import (
    RESULTS_FILE,
    Results,
    save_results,
)
from maskrcnn_benchmark.benchmark.row import FAILED, OK, OURS, OUT_OF_MEMORY, Row
from maskrcnn_benchmark.benchmark.run.job import INFERENCE, PARTS, Outcome
from maskrcnn_benchmark.benchmark.run.measure_row import TRAINING_ENDS
from maskrcnn_benchmark.benchmark.run.plan import PlannedRow, key_of
from maskrcnn_benchmark.benchmark.run.processes import Processes
from maskrcnn_benchmark.benchmark.typed_json import from_plain
from maskrcnn_benchmark.utils import comm

logger = logging.getLogger("maskrcnn_benchmark.benchmark")

MEASURES = (
    *("parameters", "macs", "load", "inference", "throughput", "training_memory"),
    *("training_throughput", "ap"),
)


@dataclass
class Run:
    """The rows of a plan, measured one after the other; `results` and the folder's file grow with them.

    `report` is called with the results after every row, in the main process.
    """

    plan: Sequence[PlannedRow]
    results: Results
    folder: Path
    processes: Processes
    report: Callable[[Results], None]

    def measure(self) -> None:
        """Measures the rows that are not there yet.

        Raises:
            Interrupted: a signal came; finished rows are in the file.
        """
        done = {key_of(row) for row in (*self.results.rows, *self.results.peers)}
        left = [row for row in self.plan if row.key not in done]
        if len(left) < len(self.plan):
            logger.info("%d of %d rows are there already", len(self.plan) - len(left), len(self.plan))
        for number, planned in enumerate(left, start=1):
            logger.info("Row %d of %d: %s", number, len(left), " ".join(planned.key))
            row = self._measure_row(planned)
            self._keep(row)
            logger.info("%s", describe_row(row))

    def _measure_row(self, planned: PlannedRow) -> Row:
        start = time.perf_counter()
        settings = self.results.settings
        outcomes = [self.processes.run(planned.job(PARTS, settings, self.folder))]
        if outcomes[0].status != OK and outcomes[0].begun in TRAINING_ENDS:
            outcomes.append(self.processes.run(planned.job((INFERENCE,), settings, self.folder)))
        return to_row(planned, outcomes, time.perf_counter() - start)

    def _keep(self, row: Row) -> None:
        """Adds the row at its place in the plan, and writes the file."""
        rows = {key_of(each): each for each in (*self.results.rows, *self.results.peers, row)}
        ordered = [rows[planned.key] for planned in self.plan if planned.key in rows]
        self.results = replace(
            self.results,
            rows=tuple(each for each in ordered if each.implementation == OURS),
            peers=tuple(each for each in ordered if each.implementation != OURS),
        )
        if comm.is_main_process():
            save_results(self.folder / RESULTS_FILE, self.results)
            self.report(self.results)


def to_row(planned: PlannedRow, outcomes: Sequence[Outcome], seconds: float) -> Row:
    """Makes a row of what its processes left behind."""
    measures: dict[str, Any] = {}
    for outcome in outcomes:
        measures |= outcome.measures
    statuses = [outcome.status for outcome in outcomes]
    status = next((each for each in (FAILED, OUT_OF_MEMORY) if each in statuses), OK)
    notes = [*planned.notes]
    if measures.get("computed_in", planned.dtype) != planned.dtype:
        notes.append(
            f"Inference in {measures['computed_in']}, training in float32: "
            f"this processor has no instructions for {planned.dtype}."
        )
    plain = {name: measures.get(name) for name in MEASURES} | {
        "name": planned.spec.name,
        "implementation": planned.implementation,
        "config": planned.shown_config,
        "backbone": planned.backbone,
        "detector": planned.detector,
        "dtype": planned.dtype,
        "computed_in": measures.get("computed_in"),
        "status": status,
        "reason": "; ".join(dict.fromkeys(outcome.reason for outcome in outcomes if outcome.reason)),
        "notes": notes,
        "seconds": seconds,
        "throughput": measures.get("throughput", []),
    }
    return from_plain(Row, plain, planned.spec.name)


def describe_row(row: Row) -> str:
    """The row in one line, for the screen."""
    parts = [f"{row.name} ({row.implementation}, {row.dtype})"]
    if row.inference is not None:
        parts.append(f"{row.inference.median_ms:.1f} ms")
    if row.training_memory is not None:
        memory = row.training_memory.allocated_mib or row.training_memory.peak_rss_mib or 0.0
        parts.append(f"{memory / 1024:.2f} GiB {row.training_memory.label}")
        if row.training_memory.peak_tensors_mib is not None:
            parts.append(f"{row.training_memory.peak_tensors_mib / 1024:.2f} GiB of tensors")
    if row.load is not None:
        parts.append(f"{row.load.proposals:.0f} proposals, {row.load.detections:.0f} detections")
    if row.ap is not None and row.ap.box.get("AP") is not None:
        parts.append(f"box AP {100 * (row.ap.box['AP'] or 0):.1f}")
    if row.reason:
        parts.append(f"{row.status.replace('_', ' ')}: {row.reason}")
    return ", ".join([*parts, f"{row.seconds:.0f} s"])
