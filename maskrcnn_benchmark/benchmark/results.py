"""results.json: what one run of the benchmark measured (docs/benchmark.md describes every entry).

row.py holds the measured values.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Literal

from maskrcnn_benchmark.benchmark.row import Row
from maskrcnn_benchmark.benchmark.typed_json import from_plain, to_plain
from maskrcnn_benchmark.utils.whole_file import open_whole

SCHEMA_VERSION = 1
RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Environment:
    """The machine and the versions of a run.

    Attributes:
        date: of the start, ISO 8601 with the time zone.
        commit: short hash, with "+changes" where tracked files differ from it; "unknown" outside a checkout.
        device_type: "cpu" or "cuda".
        device: the GPU's or the processor's name.
        num_threads: torch's threads in each process.
        num_processes: of torchrun; 1 without.
        state: power limit, clocks, governor, temperature by name, as far as the machine lets us read them.
    """

    date: str
    commit: str
    device_type: Literal["cpu", "cuda"]
    device: str
    processor: str
    num_cores: int
    num_threads: int
    num_processes: int
    memory_mib: float
    system: str
    python: str
    torch: str
    torchvision: str
    cuda: str | None
    cudnn: str | None
    driver: str | None
    operators: str
    state: dict[str, str]


@dataclass(frozen=True)
class Settings:
    """How the run was asked to measure; a run is continued (--resume) with the same settings only.

    Attributes:
        quick: whether images and load are reduced (--quick); such numbers compare with each other only.
        images_per_process: of a training step.
        short_side, long_side: INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST in use: length of the short side, limit
            of the long one.
        sizes_from: "COCO statistics", or the dataset whose images and annotations gave sizes and objects.
        peers: implementations measured in the same run.
    """

    steps: int
    images: int
    batch_sizes: tuple[int, ...]
    dtypes: tuple[str, ...]
    quick: bool
    images_per_process: int
    short_side: int
    long_side: int
    sizes_from: str
    dataset: str | None
    weights_dir: str | None
    peers: tuple[str, ...]
    memory_breakdown: bool
    seed: int


@dataclass(frozen=True)
class Results:
    """A run: `rows` are this project's detectors, `peers` others' measured in the same run.

    `protocol` has one sentence for each measure: training_memory, tensor_memory (on a CPU), inference,
    split, throughput, training_throughput, macs, load, ap, sizes.
    """

    schema_version: int
    environment: Environment
    settings: Settings
    protocol: dict[str, str]
    rows: tuple[Row, ...]
    peers: tuple[Row, ...]


def validate(plain: Any) -> Results:
    """Turns what json.load gave into Results.

    Raises:
        ValueError: another schema version, or an entry that does not fit, named by its path.
    """
    version = plain.get("schema_version") if isinstance(plain, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"schema_version: {version!r} is not {SCHEMA_VERSION}, the version this release reads; "
            "measure again, or read the file with the release that wrote it"
        )
    return from_plain(Results, plain)


def load_results(path: str | os.PathLike[str]) -> Results:
    """Reads the results in a file.

    Raises:
        ValueError: no such file, no JSON, another schema version, an entry that does not fit.
    """
    try:
        with open(path, encoding="utf-8") as file:
            plain = json.load(file)
    except OSError as error:
        raise ValueError(f"{os.fspath(path)} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} is no JSON file: {error}") from error
    try:
        return validate(plain)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def save_results(path: str | os.PathLike[str], results: Results) -> None:
    """Writes the file, whole or not at all. A result that would not be read again is not written."""
    plain = to_plain(results)
    validate(plain)
    with open_whole(path) as file:
        json.dump(plain, file, indent=1, allow_nan=False)
        file.write("\n")
