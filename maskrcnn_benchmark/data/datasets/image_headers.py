"""Sizes of images by their headers, checked before anything runs: a large dataset takes seconds, once."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

from maskrcnn_benchmark.data.datasets.validation import DatasetError, Problems

logger = logging.getLogger("maskrcnn_benchmark.data")

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"
THREADS = 16
AT_ONCE = 4096  # images between two looks at the clock
SECONDS = 60.0  # then the rest is left to be met in training
CACHE_VARIABLE = "MASKRCNN_BENCHMARK_CACHE"


class Listed(NamedTuple):
    """An image as the annotations have it."""

    id: int
    path: str
    size_wh: tuple[int, int]


def check_headers(
    problems: Problems, images: Sequence[Listed], read: Callable[[str, tuple[int, int]], object]
) -> None:
    """Notes images that cannot be opened, are empty, or are of another size than listed.

    What looks wrong is decoded by `read`, whose DatasetError decides. A check without a finding is remembered
    in the cache folder, until the annotation file or a folder of images changes.
    """
    note = _note(problems.file, images)
    if note.exists():
        return
    end, checked = time.monotonic() + SECONDS, 0
    with ThreadPoolExecutor(THREADS) as threads:
        while checked < len(images) and time.monotonic() < end:
            part = images[checked : checked + AT_ONCE]
            for image, error in zip(part, threads.map(lambda each: _fault(each, read), part), strict=True):
                if error:
                    reason, _, mend = error.partition("; ")
                    problems.add(f"image {image.id}", reason, mend)
            checked += len(part)
    if checked < len(images):
        logger.info("%s: headers of %d of %d images checked", problems.file, checked, len(images))
    elif problems.count == 0:
        _remember(note)


def _fault(image: Listed, read: Callable[[str, tuple[int, int]], object]) -> str:
    """What is wrong with an image; "" where nothing is, or where its format is not looked into."""
    try:
        with open(image.path, "rb") as file:
            looks_right = header_fits(file, image.size_wh)
    except OSError:
        looks_right = False
    if looks_right:
        return ""
    try:
        read(image.path, image.size_wh)
    except DatasetError as error:
        return str(error)
    return ""


def header_fits(file: BinaryIO, size_wh: tuple[int, int]) -> bool:
    """Whether PNG or JPEG is of this size, or turned where EXIF may turn it; True for other formats."""
    head = file.read(24)
    if head.startswith(PNG):
        return (int.from_bytes(head[16:20]), int.from_bytes(head[20:24])) == size_wh or (
            b"eXIf" in file.read(4096)
        )
    if not head.startswith(JPEG):
        return len(head) > 0
    found, may_turn = _size_of_jpeg(file)
    return found == size_wh or (may_turn and found == size_wh[::-1])


def _size_of_jpeg(file: BinaryIO) -> tuple[tuple[int, int] | None, bool]:
    """Width and height of the frame header (ITU T.81, B.2.2), None without one; and whether there is EXIF."""
    may_turn = False
    file.seek(2)
    while len(start := file.read(4)) == 4 and start[0] == 0xFF:
        marker, length = start[1], int.from_bytes(start[2:])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = file.read(5)
            return (int.from_bytes(frame[3:5]), int.from_bytes(frame[1:3])), may_turn
        may_turn |= marker == 0xE1
        file.seek(length - 2, os.SEEK_CUR)
    return None, may_turn


def _note(annotation_file: str, images: Sequence[Listed]) -> Path:
    """The file that says that these images were found right: its name holds what that rests on."""
    digest = hashlib.sha256()
    for path in (annotation_file, *sorted({os.path.dirname(image.path) for image in images})):
        digest.update(os.fsencode(os.path.abspath(path)))
        if os.path.exists(path):
            digest.update(f"{os.stat(path).st_mtime_ns} {os.stat(path).st_size}".encode())
    digest.update(str(len(images)).encode())
    users = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.environ.get(CACHE_VARIABLE) or os.path.join(users, "maskrcnn_benchmark")
    return Path(folder) / "image_headers" / digest.hexdigest()


def _remember(note: Path) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    except OSError as error:  # no cache: the next run looks again
        logger.debug("%s: %s", note, error)
