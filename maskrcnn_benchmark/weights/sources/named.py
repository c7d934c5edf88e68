"""Weights by any name that MODEL.WEIGHT takes."""

from __future__ import annotations

import os
from pathlib import Path

from maskrcnn_benchmark.weights.sources.catalogue import CATALOG, alternatives, entries, resolve_weights
from maskrcnn_benchmark.weights.sources.read import RawFile, read_weights


def read_named(name: str | os.PathLike[str]) -> RawFile:
    """The file that a path, or a catalog://, http(s):// or hf:// name, stands for; downloaded if need be.

    Raises:
        ValueError: it cannot be had or read. For a published file that is not where the path says, the
            message names what to take instead.
    """
    path = resolve_weights(os.fspath(name))
    try:
        return read_weights(path)
    except ValueError as error:
        if path.exists():
            raise
        raise ValueError(f"{error}{_instead(path)}") from error


def _instead(path: Path) -> str:
    """How to get a published file, or one that serves for it, by the name of the file."""
    found = [entry for entry in entries() if entry.file == path.name]
    if len(found) != 1:
        return ""
    entry = found[0]
    if entry.link != "dead":
        return f"; it is published: MODEL.WEIGHT {CATALOG}{entry.name} fetches it"
    others = [other.name for other in alternatives(entry)]
    serves = f"; for the same body there is MODEL.WEIGHT {CATALOG}{others[0]}" if others else ""
    return f"; the link that its authors published is dead{serves} (docs/weights.md)"
