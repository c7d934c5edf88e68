"""What loading a weights file did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from maskrcnn_benchmark.weights.classes import ClassTable

SHOWN = 8


@dataclass
class LoadReport:
    """Told to the log, and returned by the loader.

    path: the file; "" where none was given. source: what it is, in words. loaded: entry of the model -> entry
    of the file. kept: entries of the model that keep their initial values. unused: entries of the file that
    fit nowhere. dropped: entries left out on purpose, such as a classifier. classes: what became of the
    class-dependent layers where the file's classes are not the model's. notes, warnings: sentences. extra:
    what else the file holds, such as the iteration.
    """

    path: str = ""
    source: str = ""
    loaded: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    dropped: tuple[str, ...] = ()
    classes: ClassTable | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.path:
            return "No weights given: the model keeps its initial values"
        lines = [f"Weights from {self.path}: {self.source}", f"{len(self.loaded)} entries loaded"]
        for title, names in (
            ("initial values kept for", self.kept),
            ("not used of the file", self.unused),
            ("left out on purpose", self.dropped),
        ):
            if names:
                lines.append(f"{title}: {shortened(names)}")
        lines += self.notes
        lines += [f"WARNING: {text}" for text in self.warnings]
        return "\n  ".join(lines + (str(self.classes).splitlines() if self.classes else []))


def shortened(names: Sequence[str]) -> str:
    """The number of names and the first of them."""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{more})"
