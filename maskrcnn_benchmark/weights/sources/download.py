"""Files fetched once, whole and verified, into one cache folder, however many processes want them.

The first process that wants a file holds its lock and fetches it; the others wait and find it there. The lock
is the operating system's (through filelock, which torch brings), so a killed holder frees it.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from maskrcnn_benchmark.weights.sources.cache_folder import (
    CACHE_VARIABLE,
    MIRROR_VARIABLE,
    Digest,
    Source,
    Wanted,
    own_mirror,
)
from maskrcnn_benchmark.weights.sources.transfer import DISK_FULL, PartFile, TransferFailed, no_room, transfer

ATTEMPTS = 4  # at one address, without a byte of progress between them
LONGEST_WAIT = 60.0  # seconds between two attempts
POLL = 0.2  # seconds between two looks at another process's lock

logger = logging.getLogger("maskrcnn_benchmark.weights")
Sleep = Callable[[float], None]


def download(wanted: Wanted, sleep: Sleep = time.sleep) -> Path:
    """The file in the cache, fetched if it is not there: the mirror of one's own first, then each address.

    Raises:
        ValueError: no address gave it, which says what to put where by hand; the file there is not the
            published one; no room on the disk; a cache folder that cannot be written to.
    """
    if path := _found(wanted):
        return path
    sources = own_mirror(wanted.place) + wanted.sources
    try:
        with _locked(wanted.path):
            return _found(wanted) or _from_any(wanted, sources, sleep)
    except OSError as error:
        raise ValueError(
            f"{wanted.title}: cannot write to the cache folder {wanted.path.parent} ({error}); set "
            f"{CACHE_VARIABLE} to a folder where you may"
        ) from error


def _found(wanted: Wanted) -> Path | None:
    path, digest = wanted.path, wanted.digest
    if not path.is_file():
        return None
    if digest and (got := digest.of(path)) != digest.value:
        raise ValueError(
            f"{path} is not {wanted.title} as published: its {digest.algorithm} begins {got} and not "
            f"{digest.value}; remove it, and it is downloaded again"
        )
    return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("Waiting for another process that downloads %s", path)
        lock.acquire(poll_interval=POLL)
    try:
        yield
    finally:
        lock.release()


def _from_any(wanted: Wanted, sources: tuple[Source, ...], sleep: Sleep) -> Path:
    failures = []
    for source in sources:
        try:
            logger.info("Downloading %s from %s", wanted.title, source.address)
            return _from_one(wanted, source, sleep)
        except TransferFailed as failure:
            logger.warning("%s: %s", source.address, failure)
            failures.append(f"  {source.address}\n    {failure}")
    raise ValueError(_by_hand(wanted, failures))


def _from_one(wanted: Wanted, source: Source, sleep: Sleep) -> Path:
    """Fetches from one address, patiently; the file appears under its name whole and verified."""
    if source.address.startswith("hf://"):
        from maskrcnn_benchmark.weights.sources.hub import fetch_from_hub  # its own cache, its own retries

        try:
            return fetch_from_hub(source.address)
        except ValueError as error:
            raise TransferFailed(str(error), again=False) from error
    part = PartFile(wanted.path.with_name(f"{wanted.path.name}.part"))
    whole = _persist(wanted, source, part, sleep)
    with open(whole, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(whole, wanted.path)
    part.discard()
    return wanted.path


def _persist(wanted: Wanted, source: Source, part: PartFile, sleep: Sleep) -> Path:
    """The verified file; several attempts, as long as there is hope."""
    farthest, failures = 0, 0
    while True:
        try:
            continued = transfer(source.address, part)
            whole = _unpacked(part, source.member) if source.member else part.path
            _verify(whole, part, wanted.digest, continued)
            return whole
        except TransferFailed as failure:
            failures = 0 if part.size > farthest else failures + 1
            farthest = max(farthest, part.size)
            if not failure.again or failures >= ATTEMPTS:
                attempts = f" ({ATTEMPTS} attempts)" if failure.again else ""
                raise TransferFailed(f"{failure}{attempts}", again=False) from failure
            wait = min(max(2.0 ** (failures - 1), failure.wait), LONGEST_WAIT)
            logger.warning("%s: %s; trying again in %g s", source.address, failure, wait)
            sleep(wait)


def _verify(whole: Path, part: PartFile, digest: Digest | None, continued: bool) -> None:
    """Drops a file with the wrong hash; one that was put together from two attempts is worth another."""
    if digest and (got := digest.of(whole)) != digest.value:
        whole.unlink()
        part.discard()
        raise TransferFailed(
            f"sent other bytes: {digest.algorithm} begins {got} and not {digest.value}", again=continued
        )


def _unpacked(part: PartFile, member: str) -> Path:
    whole = part.path.with_name(f"{part.path.name}.unpacked")
    try:
        with (
            zipfile.ZipFile(part.path) as archive,
            archive.open(member) as source,
            open(whole, "wb") as target,
        ):
            shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        part.discard()
        raise TransferFailed(f"is no zip archive with {member!r} in it: {error}", again=False) from error
    except OSError as error:
        if error.errno in DISK_FULL:
            raise no_room(whole.parent, None) from error
        raise
    return whole


def _by_hand(wanted: Wanted, failures: list[str]) -> str:
    members = {source.member for source in wanted.sources if source.member}
    unpack = f", unpacked ({' or '.join(sorted(members))})," if members else ""
    lines = [f"{wanted.title} could not be downloaded:", *(failures or ["  no address of it is known"])]
    lines += [
        f"Download the file by hand{unpack} and put it at",
        f"  {wanted.path}",
        f"or set {MIRROR_VARIABLE} to a server or folder that has it as {wanted.place}",
    ]
    return "\n".join(lines + ([wanted.advice] if wanted.advice else []))
