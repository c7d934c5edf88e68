"""Data that turn out to be unusable while a run uses them: it then ends in order, not in a traceback."""

from __future__ import annotations


class DataFault(ValueError):
    """Data that cannot be used; the message names the file, the reason and the mend."""


def reason_of(fault: DataFault) -> str:
    """The message as it was raised, also where a worker of a loader wrapped its traceback around it."""
    text, mark = str(fault), f"{type(fault).__name__}: "
    return text.rpartition(mark)[2].strip() if text.startswith("Caught ") and mark in text else text
