"""A weights file by any name: a path, catalog://, http(s):// or hf://; downloaded if need be, and read."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from maskrcnn_benchmark.weights.sources.cache_folder import Digest, Source, Wanted
from maskrcnn_benchmark.weights.sources.catalogue import (
    CATALOG,
    CatalogueEntry,
    ModelCatalog,
    alternatives,
    entries,
    entry_at,
)
from maskrcnn_benchmark.weights.sources.download import Sleep, download
from maskrcnn_benchmark.weights.sources.hub import HUB, fetch_from_hub, in_hub_cache
from maskrcnn_benchmark.weights.sources.read import RawFile, read_weights

WEB = ("http://", "https://")
URL_HASH = re.compile(r"sha256=([0-9a-f]{8,64})")


def resolve_weights(name: str) -> Path:
    """The local file for what MODEL.WEIGHT or a command names; a plain path comes back as it is.

    Args:
        name: catalog://NAME, http(s)://... (with #sha256=HEX at its end it is verified),
            hf://owner/name/file, or a path. An address that the catalogue has is that entry.

    Raises:
        ValueError: an unknown name or scheme; a download that failed, with what to do by hand.
    """
    if name.startswith(CATALOG):
        return fetch(name)
    if name.startswith(HUB):
        return fetch_from_hub(name)
    if name.startswith(WEB):
        entry = entry_at(name)
        return fetch(entry.name) if entry else download(_wanted_address(name))
    if "://" in name:
        raise ValueError(
            f"weights {name!r}: give a path, {CATALOG}NAME, http(s)://... or {HUB}owner/name/file"
        )
    return Path(name)


def read_named(name: str | os.PathLike[str]) -> RawFile:
    """The file that a path, or a catalog://, http(s):// or hf:// name, stands for; downloaded if need be.

    Raises:
        ValueError: it cannot be fetched or read. For a published file that is not where the path says, the
            message names what to take instead.
    """
    path = resolve_weights(os.fspath(name))
    try:
        return read_weights(path)
    except ValueError as error:
        if path.exists():
            raise
        raise ValueError(f"{error}{_instead(path)}") from error


def fetch(name: str, sleep: Sleep = time.sleep) -> Path:
    """The file of a catalogue entry, with or without "catalog://"; downloaded if it is not in the cache.

    Raises ValueError for an unknown name, and where no address gives the file.
    """
    return download(_wanted_entry(ModelCatalog.entry(name.removeprefix(CATALOG))), sleep)


def cached(entry: CatalogueEntry) -> Path | None:
    """Where the file of an entry lies already, unverified; None: nowhere."""
    path = _wanted_entry(entry).path
    if path.is_file():
        return path
    found = (in_hub_cache(url) for url in entry.urls if url.startswith(HUB))
    return next((path for path in found if path), None)


def _wanted_entry(entry: CatalogueEntry) -> Wanted:
    digest = Digest("sha256", entry.sha256) if entry.sha256 else None
    if entry.sha1:
        digest = Digest("sha1", entry.sha1)
    sources = tuple(Source(url, None if url.startswith(HUB) else entry.member) for url in entry.urls)
    return Wanted(f"{CATALOG}{entry.name}", sources, entry.place, digest, _advice(entry))


def _advice(entry: CatalogueEntry) -> str:
    """What else a person can do who does not get the file."""
    lines = [f"Note: {entry.note}"] if entry.note else []
    if entry.link == "dead":
        lines.append(f"Note: {entry.link_note}")
    if entry.superseded_by:
        lines.append(f"Its replacement: {CATALOG}{entry.superseded_by}")
    if others := alternatives(entry):
        names = "".join(f"\n  {CATALOG}{other.name}" for other in others)
        lines.append(f"ImageNet weights for the body {entry.body} from elsewhere:{names}")
    return "\n".join(lines)


def _wanted_address(url: str) -> Wanted:
    """A file outside the catalogue. Its place is made from the address: two addresses never share one."""
    address, _, fragment = url.partition("#")
    known = URL_HASH.fullmatch(fragment)
    if fragment and not known:
        raise ValueError(f"weights {url!r}: after # write sha256= and at least eight lower-case hex digits")
    file = re.sub(r"[^\w.-]", "_", PurePosixPath(unquote(urlsplit(address).path)).name) or "weights"
    place = f"addresses/{hashlib.sha256(address.encode()).hexdigest()[:16]}/{file}"
    return Wanted(address, (Source(address),), place, Digest("sha256", known[1]) if known else None)


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
