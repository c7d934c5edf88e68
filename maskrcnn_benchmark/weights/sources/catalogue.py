"""The published weights files, as catalogue.json beside this file lists them.

Every fact there comes from the publisher's own page or package; what no source tells is null.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MANIFEST_FILE = Path(__file__).with_name("catalogue.json")
CATALOG = "catalog://"
LINKS = ("alive", "dead", "unknown")


@dataclass(frozen=True)
class CatalogueEntry:
    """One published file.

    Attributes:
        name: what follows "catalog://" in MODEL.WEIGHT.
        kind: "body" (an ImageNet classifier) or "detector".
        body: the body it holds, without the neck ("V-39").
        file: its name in the cache.
        urls: where it was published, the best first; http(s):// or hf://owner/name/file. Empty: nowhere.
        sha256: hex digits, all or the leading ones; None: unknown.
        sha1: the same where the publisher gives this one.
        member: the file's name inside the archive that the urls lead to; None: they lead to the file itself.
        size_mib: rounded size in MiB; None: unknown.
        licence: None: unknown.
        publisher: who published it, and `page` where.
        config: the config of this project that builds it, relative to the repository; None: none.
        row: backbone, detector and schedule of a published result table; None for bodies.
        box_ap, mask_ap: published AP on COCO minival (2017 val) in percent; None: none.
        top1: published ImageNet accuracy in percent; None: unknown.
        link: "alive" or "dead" by the report in `link_note`, or "unknown".
        superseded_by: the name of the file to take instead; None: none.
        note: what to know before using it; "" for nothing.
    """

    name: str
    kind: str
    body: str
    description: str
    file: str
    urls: tuple[str, ...]
    sha256: str | None
    size_mib: float | None
    licence: str | None
    publisher: str
    page: str
    link: str
    link_note: str
    sha1: str | None = None
    member: str | None = None
    config: str | None = None
    row: str | None = None
    box_ap: float | None = None
    mask_ap: float | None = None
    top1: float | None = None
    superseded_by: str | None = None
    note: str = ""

    @property
    def place(self) -> str:
        """Where the file lies, relative to the folder of all weights and to a mirror of one's own."""
        return f"{self.name}/{self.file}"


@cache
def weights_manifest() -> dict[str, CatalogueEntry]:
    """Every published file by its name, in the manifest's order."""
    content = json.loads(MANIFEST_FILE.read_text(encoding="utf-8"))
    entries = [_entry(dict(raw), content["sources"]) for raw in content["entries"]]
    return {entry.name: entry for entry in entries}


def entries() -> list[CatalogueEntry]:
    """Every published file, in the manifest's order."""
    return list(weights_manifest().values())


def entry_at(url: str) -> CatalogueEntry | None:
    """The entry that was published at an address."""
    return next((entry for entry in entries() if url in entry.urls), None)


def published_body(name: str) -> CatalogueEntry | None:
    """The entry that a name or address stands for, if it is an ImageNet body; None for anything else."""
    if name.startswith(CATALOG):
        entry = weights_manifest().get(name.removeprefix(CATALOG))
    else:
        entry = entry_at(name)
    return entry if entry is not None and entry.kind == "body" else None


def alternatives(entry: CatalogueEntry) -> list[CatalogueEntry]:
    """ImageNet weights for the same body whose addresses are not known to be dead."""
    return [
        other
        for other in entries()
        if other.kind == "body" and other.body == entry.body and other.link != "dead" and other != entry
    ]


class ModelCatalog:
    """Published weights by the name that follows "catalog://" in MODEL.WEIGHT."""

    @staticmethod
    def entry(name: str) -> CatalogueEntry:
        """What the manifest says about ``name``; raises ValueError for an unknown one, with the nearest."""
        manifest = weights_manifest()
        if name not in manifest:
            raise ValueError(
                f"unknown weights catalog://{name}{_nearest(name, list(manifest))}; "
                "`maskrcnn-benchmark weights list` shows them all"
            )
        return manifest[name]

    @staticmethod
    def get(name: str) -> str:
        """The first address of a published file.

        Raises ValueError for an unknown name, with the nearest known ones, and for a file that was never
        published, with the one to take instead.
        """
        entry = ModelCatalog.entry(name)
        if not entry.urls:
            raise ValueError(f"catalog://{name}: {entry.note}; take catalog://{entry.superseded_by}")
        return entry.urls[0]


def _entry(raw: dict[str, Any], sources: dict[str, dict[str, Any]]) -> CatalogueEntry:
    source = sources[raw.pop("source")]
    return CatalogueEntry(
        urls=tuple(raw.pop("urls")),
        licence=source["licence"],
        publisher=source["title"],
        page=source["page"],
        link=source["link"],
        link_note=source["link_note"],
        **raw,
    )


def _nearest(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, nearest))}?)" if nearest else ""
