"""Problems of a dataset, gathered and told in one line each before anything runs on it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from maskrcnn_benchmark.utils.data_fault import DataFault


class DatasetError(DataFault):
    """A dataset that cannot be used; the message names file, id, reason and mend, one problem a line."""


class Problems:
    """What is wrong with one file. Gathers everything, so that a user mends all of it in one go."""

    SHOWN = 20  # more lines would push the first ones off the screen

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self.file = os.fspath(file)
        self.lines: list[str] = []
        self.count = 0

    def add(self, where: str, reason: str, mend: str) -> None:
        """Notes one problem: at which id, what is wrong, how to mend it."""
        self.count += 1
        if len(self.lines) < self.SHOWN:
            self.lines.append(f"{self.file}: {where}: {reason}; {mend}")

    def raise_if_any(self) -> None:
        """Raises DatasetError with what was gathered, if anything was."""
        if self.count == 0:
            return
        hidden = self.count - len(self.lines)
        rest = [f"{self.file}: and {hidden} more problems"] if hidden else []
        raise DatasetError("\n".join(self.lines + rest))


def add_duplicates(problems: Problems, kind: str, ids: Sequence[int]) -> None:
    """Notes every id that occurs more than once."""
    if len(set(ids)) == len(ids):
        return
    counts: dict[int, int] = {}
    for each in ids:
        counts[each] = counts.get(each, 0) + 1
    for each, count in counts.items():
        if count > 1:
            problems.add(f"{kind} {each}", f"this id occurs {count} times", f"give every {kind} its own id")


def shorten(ids: Sequence[object], limit: int = 5) -> str:
    """The first few ids, or names, as text."""
    text = ", ".join(str(each) for each in ids[:limit])
    return text + (", ..." if len(ids) > limit else "")
