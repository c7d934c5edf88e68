"""Where the numbers of a run go: metrics.jsonl, TensorBoard events, and writers of your own.

A record is a flat dictionary with `kind` ("train" or "evaluation"), `iteration`, and numbers. A writer of
your own, in a module that the key IMPORTS or the option --import names:

    @METRIC_WRITERS.register("print")
    class PrintWriter:
        def __init__(self, folder, last_iteration): ...

        def write(self, record):
            print(record)

        def close(self): ...

and `METRIC_WRITERS "('tensorboard', 'print')"` on the command line.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from maskrcnn_benchmark.utils.registry import Registry
from maskrcnn_benchmark.utils.whole_file import open_whole

logger = logging.getLogger("maskrcnn_benchmark.metrics")

METRICS_FILE = "metrics.jsonl"
Record = Mapping[str, float | int | str]
METRIC_WRITERS = Registry("METRIC_WRITERS")  # builders of (folder of the run, iterations done)


class MetricWriter(Protocol):
    """Takes the records of a run, one after the other."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


class JsonLinesWriter:
    """One JSON object a line, appended and flushed at once.

    Args:
        path: the file; continued where it exists.
        last_iteration: records after this iteration are dropped first: the resumed run writes them anew.
    """

    def __init__(self, path: str | os.PathLike[str], last_iteration: int = 0) -> None:
        self.path = Path(path)
        if self.path.exists():
            kept = [
                record for record in read_metrics(self.path) if int(record["iteration"]) <= last_iteration
            ]
            with open_whole(self.path) as file:
                file.writelines(_line(record) for record in kept)
        self.file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115  # close() closes it

    def write(self, record: Record) -> None:
        """Appends a record."""
        self.file.write(_line(record))
        self.file.flush()

    def close(self) -> None:
        """Closes the file."""
        self.file.close()


@METRIC_WRITERS.register("tensorboard")
class TensorBoardWriter:
    """TensorBoard scalars: losses under `train/`, results under `evaluation/`.

    Args:
        folder: gets the event files.
        last_iteration: TensorBoard hides what an earlier start wrote after this iteration.

    Raises:
        ImportError: the package tensorboard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], last_iteration: int = 0) -> None:
        # only the process that writes pays for this import
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(
            os.fspath(folder), purge_step=last_iteration + 1 if last_iteration else None
        )

    def write(self, record: Record) -> None:
        """Adds each finite number of the record."""
        iteration = int(record["iteration"])
        for name, value in record.items():
            if name not in ("kind", "iteration") and not isinstance(value, str) and math.isfinite(value):
                self.writer.add_scalar(f"{record['kind']}/{name}", value, iteration)

    def close(self) -> None:
        """Writes what is buffered and closes the file."""
        self.writer.close()


def open_metric_writers(
    folder: str | os.PathLike[str], last_iteration: int = 0, names: Sequence[str] = ("tensorboard",)
) -> list[MetricWriter]:
    """metrics.jsonl in the folder of a run, and the writers of these names in METRIC_WRITERS.

    A writer whose package is not installed is left out, with a warning.

    Raises:
        ValueError: an unknown name, with the known ones.
    """
    builders = {name: METRIC_WRITERS[name] for name in names}
    writers: list[MetricWriter] = [JsonLinesWriter(Path(folder) / METRICS_FILE, last_iteration)]
    for name, builder in builders.items():
        try:
            writers.append(builder(folder, last_iteration))
        except ImportError as error:
            logger.warning("METRIC_WRITERS: %s is left out, a package is not installed: %s", name, error)
    return writers


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, float | int | str]]:
    """The records of a metrics.jsonl; a last line that was cut short by a crash is left out."""
    records = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return records


def _line(record: Record) -> str:
    # NaN is no JSON; a missing number (an AP without ground truth, say) reads as null
    values = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return json.dumps(values) + "\n"
