"""The beginning of a file: a `.part` file, and beside it (`.part.json`) which version of which file it is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Version:
    """One version of the file at an address."""

    url: str
    validator: str  # a strong ETag, or the date of the last change; "": the server tells no versions apart
    size: int | None


class Partial:
    """What earlier attempts left of a file that is to be written to `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(f"{path.name}.json")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self, url: str) -> Version | None:
        """Of what version this is the beginning; None where it cannot be continued from `url`."""
        try:
            version = Version(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        known = version.validator and version.size is not None
        return version if version.url == url and known and self.size else None

    def begin(self, version: Version) -> None:
        """Starts over with a version of the file."""
        self.discard()
        self._note.write_text(json.dumps(asdict(version)), encoding="utf-8")

    def discard(self) -> None:
        """Removes what is there."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
