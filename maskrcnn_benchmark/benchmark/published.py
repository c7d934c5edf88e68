"""The published rows, as data with their source: published.json beside this file.

They are other people's numbers on other people's machines. They stand beside the measured ones in every
report and never take their place.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from maskrcnn_benchmark.benchmark.row import FASTER, MASK

PUBLISHED_FILE = Path(__file__).with_name("published.json")
BASELINE_BODY = "R-50"


class AreaAP(NamedTuple):
    """COCO's AP in percent over all objects and over small, medium and large ones; None: not published."""

    ap: float
    small: float | None = None
    medium: float | None = None
    large: float | None = None


@dataclass(frozen=True)
class Source:
    """Where a published table stands and how its numbers came about.

    Attributes:
        revision: the commit that was read.
        same_machine_as: key of the source whose rows were measured on the same hardware and versions.
    """

    key: str
    title: str
    url: str
    revision: str
    hardware: str
    versions: str
    protocol: str
    same_machine_as: str | None = None


@dataclass(frozen=True)
class PublishedRow:
    """One published line; None: not published.

    Attributes:
        body: "R-50"; all of them stand under a feature pyramid.
        config: this project's config that stands for the row, "" where none does.
        note: what sets the row apart from others of the same body and schedule.
        inference_fps: images per second, where those were published instead of milliseconds.
    """

    source: Source
    body: str
    detector: str
    schedule: str
    box_ap: AreaAP
    mask_ap: AreaAP | None = None
    config: str = ""
    note: str = ""
    memory_gb: float | None = None
    inference_ms: float | None = None
    inference_fps: float | None = None

    @property
    def kind(self) -> str:
        """What sets the row apart from others of the same body: "2x", "1x, caffe"."""
        return f"{self.schedule}, {self.note}" if self.note else self.schedule

    @property
    def milliseconds(self) -> float | None:
        """Milliseconds of one image, from the time or the images per second, whichever was published."""
        if self.inference_fps is not None:
            return 1000 / self.inference_fps
        return self.inference_ms


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """All published rows, in the order of their tables."""
    return parse_published(json.loads(PUBLISHED_FILE.read_text(encoding="utf-8")))


def find_published(config: str) -> PublishedRow | None:
    """The published row that a config of this project stands for; None for any other config.

    Args:
        config: a path; its folders count from the right, so that absolute ones are found, too.
    """
    for row in published_rows():
        if row.config and f"/{config}".endswith(f"/{row.config}"):
            return row
    return None


def baseline_of(row: PublishedRow) -> PublishedRow | None:
    """R-50 of the same detector on the same machine: what a row's ratios are relative to.

    Where a source has several, it is that of the same schedule and note; ratios over another schedule or
    pixel style would be none.
    """
    machines = {row.source.key, row.source.same_machine_as or row.source.key}
    for other in published_rows():
        same_kind = (other.detector, other.schedule, other.note) == (row.detector, row.schedule, row.note)
        if other.body == BASELINE_BODY and other.source.key in machines and same_kind:
            return other
    return None


def parse_published(plain: Any) -> tuple[PublishedRow, ...]:
    """Turns the content of published.json into rows.

    Raises:
        ValueError: an unknown or missing entry, a number out of range, two rows for the same thing; names the
            source or the number of the row.
    """
    sources = {key: _parse_source(key, entry) for key, entry in plain["sources"].items()}
    for source in sources.values():
        if source.same_machine_as not in (None, *sources):
            raise ValueError(
                f"sources.{source.key}.same_machine_as: {source.same_machine_as!r} is not one of "
                + ", ".join(sources)
            )
    rows: list[PublishedRow] = []
    for index, entry in enumerate(plain["rows"]):
        try:
            rows.append(_parse_row(entry, sources))
            _check_new(rows)
        except (TypeError, ValueError) as error:
            raise ValueError(f"rows[{index}]: {error}") from error
    return tuple(rows)


def _parse_source(key: str, entry: dict[str, Any]) -> Source:
    try:
        source = Source(key=key, **entry)
    except TypeError as error:
        raise ValueError(f"sources.{key}: {error}") from error
    for name in ("title", "hardware", "versions", "protocol"):
        if not getattr(source, name):
            raise ValueError(f"sources.{key}.{name}: empty; a number without its origin is not comparable")
    if not source.url.startswith("https://"):
        raise ValueError(f"sources.{key}.url: {source.url!r} does not start with https://")
    if not re.fullmatch(r"[0-9a-f]{40}", source.revision):
        raise ValueError(f"sources.{key}.revision: {source.revision!r} is not a commit of 40 hex digits")
    return source


def _parse_row(entry: dict[str, Any], sources: dict[str, Source]) -> PublishedRow:
    if entry.get("source") not in sources:
        raise ValueError(f"source: {entry.get('source')!r} is not one of {', '.join(sources)}")
    mask_ap = entry.get("mask_ap")
    row = PublishedRow(
        **{
            **entry,
            "source": sources[entry["source"]],
            "box_ap": AreaAP(*entry.get("box_ap", ())),
            "mask_ap": None if mask_ap is None else AreaAP(*mask_ap),
        }
    )
    if row.detector not in (FASTER, MASK):
        raise ValueError(f"detector: {row.detector!r} is not one of {FASTER}, {MASK}")
    if (row.mask_ap is not None) != (row.detector == MASK):
        raise ValueError(f"mask_ap: {row.detector} and {mask_ap!r} contradict each other")
    if not re.fullmatch(r"[123]x", row.schedule):
        raise ValueError(f"schedule: {row.schedule!r} is not one of 1x, 2x, 3x")
    if row.inference_ms is not None and row.inference_fps is not None:
        raise ValueError("inference_ms and inference_fps: give the one that was published")
    for name in ("memory_gb", "inference_ms", "inference_fps"):
        value = getattr(row, name)
        if value is not None and not (isinstance(value, (int, float)) and 0 < value < 1000):
            raise ValueError(f"{name}: {value!r} is not a number between 0 and 1000")
    for value in (*row.box_ap, *(row.mask_ap or ())):
        if value is not None and not (isinstance(value, (int, float)) and 1 < value < 100):
            raise ValueError(f"AP: {value!r} is not a percentage between 1 and 100")
    return row


def _check_new(rows: list[PublishedRow]) -> None:
    """Raises ValueError where the last row repeats an earlier one or claims its config."""
    new = rows[-1]
    for row in rows[:-1]:
        if new.config and new.config == row.config:
            raise ValueError(f"config: {new.config} already stands for another row")
        if (new.source, new.body, new.detector, new.schedule, new.note) == (
            *(row.source, row.body, row.detector, row.schedule, row.note),
        ):
            raise ValueError(f"{new.body} {new.detector} {new.schedule} {new.note} is there twice")
