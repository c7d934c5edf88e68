"""Image files that an annotation file lists, and where they are if they are not there by that name."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote

from maskrcnn_benchmark.data.datasets.validation import Problems

MOST_FILES = 200_000  # looked at for another spelling


def find_images(
    problems: Problems, image_folder: str, images: Iterable[tuple[int, str]]
) -> dict[int, tuple[str, str]]:
    """Notes every listed image (id, file name) that is not in the folder, with what is there instead.

    Reads each folder once instead of asking for every file: a large dataset is checked in a second.

    Returns:
        By id the listed name and the one of the file, where they differ in Unicode form or in backslashes
        for slashes alone and one file fits: these are taken.
    """
    listings: dict[str, set[str]] = {}
    others: _Spellings | None = None
    taken: dict[int, tuple[str, str]] = {}
    for image_id, file_name in images:
        folder, name = os.path.split(os.path.join(image_folder, file_name))
        if folder not in listings:
            listings[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name in listings[folder]:
            continue
        others = others or _Spellings(image_folder)
        if same := others.same(file_name):
            taken[image_id] = (file_name, same)
            continue
        _add_missing(problems, image_id, os.path.join(folder, name), others.like(file_name))
    return taken


def _add_missing(problems: Problems, image_id: int, path: str, found: list[str]) -> None:
    where = f"image {image_id}"
    if not found:
        mend = "add the file, or remove the image and its annotations from the json"
        problems.add(where, f"{path} does not exist", mend)
        return
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    mend = f"write file_name {found[0]!r}, relative to the image folder, or rename the file"
    problems.add(where, f"{path} does not exist, but the image folder has {found[0]!r}{more}", mend)


class _Spellings:
    """The files below a folder by names in which spelling does not count."""

    def __init__(self, folder: str) -> None:
        self.exact: dict[str, list[str]] = {}
        self.loose: dict[str, list[str]] = {}
        self.stems: dict[str, list[str]] = {}
        count = 0
        for directory, _, names in os.walk(folder):
            for name in sorted(names):
                path = os.path.relpath(os.path.join(directory, name), folder)
                self.exact.setdefault(_one_form(path), []).append(path)
                last = PurePosixPath(_loose(path))
                self.loose.setdefault(last.name, []).append(path)
                self.stems.setdefault(last.stem, []).append(path)
            count += len(names)
            if count > MOST_FILES:
                break

    def same(self, file_name: str) -> str:
        """The only file whose name differs in Unicode form or slashes alone; "" without one."""
        found = self.exact.get(_one_form(file_name), [])
        return found[0] if len(found) == 1 else ""

    def like(self, file_name: str) -> list[str]:
        """Files of this name in any case, escape, or folder, or of another extension; the nearest first."""
        wanted = PurePosixPath(_loose(file_name))
        found = self.loose.get(wanted.name) or self.stems.get(wanted.stem) or []
        return sorted(found, key=lambda path: -_common_tail(wanted, PurePosixPath(_loose(path))))


def _one_form(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _loose(name: str) -> str:
    return _one_form(unquote(name)).casefold()


def _common_tail(one: PurePosixPath, other: PurePosixPath) -> int:
    """Parts that both end with."""
    count = 0
    for a, b in zip(reversed(one.parts), reversed(other.parts), strict=False):
        if a != b:
            break
        count += 1
    return count
