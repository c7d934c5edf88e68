"""What a weights file says of itself: who wrote it, in which version, with which config and classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from maskrcnn_benchmark.weights.sources.read import RawFile

FORMAT = "maskrcnn_benchmark"
# Raised when files change so that an older reader would misunderstand them.
VERSION = 1
# What only this project's checkpoints have held from the beginning, when they carried no version.
EARLY_MARKS = ("random_states", "results")


@dataclass(frozen=True)
class Provenance:
    """The facts in a file beside its tensors; of other projects' files nothing but an iteration.

    is_own: whether this project wrote it. version: 0 for its checkpoints older than versions.
    config: yaml text, "" where the file has none. class_names: by label, the background first.
    requires: config keys and the values that the weights need.
    """

    is_own: bool = False
    version: int = 0
    config: str = ""
    class_names: tuple[str, ...] | None = None
    iteration: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    row: str = ""
    requires: tuple[tuple[str, object], ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """The config as `SECTION.KEY -> value`."""
        return flat_settings(yaml.safe_load(self.config)) if self.config else {}


def provenance_of(raw: RawFile) -> Provenance:
    """What `raw` says of itself.

    Raises:
        ValueError: it was written by a newer version of this project, or its description is damaged.
    """
    if raw.metadata.get("format") == FORMAT:
        facts = _from_text(raw)
    elif raw.content.get("format") == FORMAT:
        facts = raw.content
    else:
        return Provenance(
            is_own=any(mark in raw.content for mark in EARLY_MARKS),
            iteration=_number(raw.content.get("iteration")),
            metrics=_numbers(raw.content.get("results")),
        )
    version = _number(facts.get("version")) or 0
    if version > VERSION:
        raise ValueError(
            f"weights file {str(raw.path)!r} was written by a newer version of this project: its format is "
            f"{version}, this version reads up to {VERSION}; update the project, or have the file written "
            "again with the version you use"
        )
    names, requires = facts.get("class_names"), facts.get("requires") or ()
    config = str(facts.get("config") or "")
    for name, is_sound in (
        ("class_names", names is None or isinstance(names, (list, tuple))),
        ("requires", isinstance(requires, (list, tuple)) and all(map(_is_pair, requires))),
        ("config", not config or _is_mapping(config)),
    ):
        if not is_sound:
            raise _damaged(raw, name, "not what belongs there")
    return Provenance(
        is_own=True,
        version=version,
        config=config,
        class_names=tuple(map(str, names)) if names else None,
        iteration=_number(facts.get("iteration")),
        metrics=_numbers(facts.get("metrics") or facts.get("results")),
        row=str(facts.get("row") or ""),
        requires=tuple((str(key), value) for key, value in requires),
    )


def flat_settings(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a nested mapping as `SECTION.KEY -> value`, tuples as lists."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            result.update(flat_settings(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return result


def _from_text(raw: RawFile) -> dict[str, Any]:
    """The facts of a safetensors file, whose metadata is text."""
    facts: dict[str, Any] = dict(raw.metadata)
    for name in ("version", "class_names", "iteration", "metrics", "requires"):
        if name in facts:
            try:
                facts[name] = json.loads(facts[name])
            except json.JSONDecodeError as error:
                raise _damaged(raw, name, str(error)) from error
    return facts


def _damaged(raw: RawFile, name: str, reason: str) -> ValueError:
    return ValueError(
        f"weights file {str(raw.path)!r}: its {name} is damaged ({reason}); write the file again with "
        "maskrcnn-benchmark weights strip"
    )


def _is_mapping(config: str) -> bool:
    try:
        return isinstance(yaml.safe_load(config), dict)
    except yaml.YAMLError:
        return False


def _is_pair(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _numbers(value: object) -> dict[str, float]:
    pairs = value.items() if isinstance(value, Mapping) else ()
    return {str(key): float(number) for key, number in pairs if isinstance(number, (int, float))}
