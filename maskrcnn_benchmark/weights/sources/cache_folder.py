"""A file to have: where it can come from, what it hashes to, where it lies in the cache."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

CACHE_VARIABLE = "MASKRCNN_BENCHMARK_CACHE"
MIRROR_VARIABLE = "MASKRCNN_BENCHMARK_MIRROR"


class Digest(NamedTuple):
    """What a file must hash to: `value` holds the leading hex digits, or all of them."""

    algorithm: str
    value: str

    def of(self, path: Path) -> str:
        """The hash of a file, as many digits of it as are known."""
        with open(path, "rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest()[: len(self.value)]


class Source(NamedTuple):
    """An address, and the file's name inside the zip archive that lies there; None: it is the file itself."""

    address: str
    member: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A file to have: what a message calls it, where to fetch it, its place under the weights folder."""

    title: str
    sources: tuple[Source, ...]
    place: str
    digest: Digest | None = None
    advice: str = ""  # further lines of the error when every address fails

    @property
    def path(self) -> Path:
        """Where the file lies once it is there."""
        return weights_folder() / self.place


def cache_folder() -> Path:
    """MASKRCNN_BENCHMARK_CACHE, or maskrcnn_benchmark under the user's cache folder (XDG_CACHE_HOME)."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    users = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(users) if os.path.isabs(users) else Path.home() / ".cache"
    return folder / "maskrcnn_benchmark"


def weights_folder() -> Path:
    """Where weights lie in the cache. Served as it is, this folder is a mirror for others."""
    return cache_folder() / "weights"


def own_mirror(place: str) -> tuple[Source, ...]:
    """The address of a file on the mirror that MASKRCNN_BENCHMARK_MIRROR names (a server or a folder)."""
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    if not mirror:
        return ()
    base = mirror if "://" in mirror else Path(mirror).expanduser().absolute().as_uri()
    if not base.startswith(("http://", "https://", "file://")):
        raise ValueError(f"{MIRROR_VARIABLE}={mirror!r}: give an http(s):// or file:// address or a folder")
    return (Source(f"{base.rstrip('/')}/{place}"),)
