"""One address, one file: fetched into a partial file, continued where an earlier attempt stopped.

Built on urllib: it is always there, follows redirects and honours the proxy variables. `requests` and `httpx`
come only with optional packages of this project, and torch.hub's own download neither resumes nor locks.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

TIMEOUT = 30.0  # seconds without a single byte
BLOCK = 1 << 20
MIB = 1 << 20
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Version:
    """One version of the file at an address."""

    url: str
    validator: str  # a strong ETag, or the date of the last change; "": the server tells no versions apart
    size: int | None


class PartFile:
    """What earlier attempts left of a file: `path`, and beside it, in a .json, which version it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(f"{path.name}.json")

    @property
    def size(self) -> int:
        """The number of bytes that earlier attempts left; 0 without a file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self, url: str) -> Version | None:
        """The version that these bytes are the beginning of; None where `url` cannot continue it."""
        try:
            version = Version(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        known = version.validator and version.size is not None
        return version if version.url == url and known and self.size else None

    def begin(self, version: Version) -> None:
        """Removes the bytes and notes `version`, whose first byte is to come next."""
        self.discard()
        self._note.write_text(json.dumps(asdict(version)), encoding="utf-8")

    def discard(self) -> None:
        """Removes the bytes, and the note of their version."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


class TransferFailed(Exception):
    """An address did not give its file. `again`: whether another attempt may; `wait`: seconds it asks for."""

    def __init__(self, reason: str, again: bool, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.again = again
        self.wait = wait


def transfer(url: str, part: PartFile, timeout: float = TIMEOUT) -> bool:
    """Fetches `url` into `part`; returns whether it continued an earlier attempt.

    A part is continued only if it comes from the same address and the server confirms (If-Range, RFC 9110
    section 13.1.5) that the file is still the same version; otherwise it starts over.

    Raises:
        TransferFailed: the server refuses, is out of reach, breaks off, or sends something else.
        ValueError: the disk has no room.
    """
    version = part.version(url)
    if version and version.size == part.size:
        return True
    with _reply(url, part, version, timeout) as reply:
        _check_kind(reply.headers)
        continued = getattr(reply, "status", None) == 206
        if not continued:
            version = Version(url, _validator(reply.headers), _total(reply.headers, 0))
            part.begin(version)
        elif version is None or not _continues(reply.headers, version, part.size):
            part.discard()
            raise TransferFailed("the server continues another version of the file", again=True)
        _append(reply, part, version.size)
    return continued


def no_room(folder: Path, needed: int | None) -> ValueError:
    """The error of a full disk: how much is missing where."""
    free = shutil.disk_usage(folder).free
    amount = "" if needed is None else f"{needed / MIB:.1f} MiB more are needed, "
    missing = "" if needed is None or needed <= free else f": {(needed - free) / MIB:.1f} MiB are missing"
    return ValueError(f"no room on the disk of {folder}: {amount}{free / MIB:.1f} MiB are free{missing}")


def _reply(url: str, part: PartFile, version: Version | None, timeout: float) -> Any:
    headers = {"User-Agent": "maskrcnn-benchmark", "Accept-Encoding": "identity"}
    if version:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": version.validator}
    try:
        return urlopen(Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        if error.code == 416:  # there is nothing after what the part has: it is of another version
            part.discard()
            raise TransferFailed("refuses to continue the file", again=True) from error
        wait = error.headers.get("Retry-After", "")
        raise TransferFailed(
            f"HTTP {error.code} {error.reason}",
            again=error.code in RETRIED_STATUS,
            wait=float(wait) if wait.isdigit() else 0.0,
        ) from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise TransferFailed(_words(reason), again=not _is_final(reason)) from error


def _append(reply: Any, part: PartFile, total: int | None) -> None:
    start, folder = part.size, part.path.parent
    if total is not None and total - start > shutil.disk_usage(folder).free:
        raise no_room(folder, total - start)
    bar = tqdm(
        desc=part.path.stem,
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=None,  # no bar where nobody watches
    )
    try:
        with bar, open(part.path, "ab") as file:
            for block in _blocks(reply):
                file.write(block)
                bar.update(len(block))
    except OSError as error:
        if error.errno in DISK_FULL:
            raise no_room(folder, None if total is None else total - part.size) from error
        raise
    if part.size == 0 or (total is not None and part.size != total):
        expected = "" if total is None else f" of {total}"
        raise TransferFailed(f"broke off after {part.size}{expected} bytes", again=True)


def _blocks(reply: Any) -> Iterator[bytes]:
    """The body as it arrives, so that a break loses nothing that had come."""
    while True:
        try:
            block = reply.read1(BLOCK)
        except (OSError, HTTPException) as error:
            raise TransferFailed(f"broke off: {_words(error)}", again=True) from error
        if not block:
            return
        yield block


def _check_kind(headers: Message) -> None:
    if "Content-Type" in headers and headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise TransferFailed("sends a web page in place of the file", again=False)
    encoding = headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise TransferFailed(f"sends the file encoded ({encoding}), which was not asked for", again=False)


def _total(headers: Message, start: int) -> int | None:
    """Bytes of the whole file, of which the body is what follows `start`; None: the server does not say."""
    length = headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _continues(headers: Message, version: Version, start: int) -> bool:
    """Whether a 206 reply is the rest of the very file that the part began."""
    whole = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    etag = headers.get("ETag")
    return (
        whole is not None
        and int(whole[1]) == start
        and whole[2] in ("*", str(version.size))
        and (etag is None or not version.validator.startswith('"') or etag == version.validator)
    )


def _validator(headers: Message) -> str:
    """What If-Range may name: a strong ETag, else the date of the last change."""
    etag = str(headers.get("ETag", ""))
    return etag if etag.startswith('"') else str(headers.get("Last-Modified", ""))


def _is_final(reason: object) -> bool:
    """Whether another attempt is in vain: no such server, or no such file behind a file:// address."""
    if isinstance(reason, socket.gaierror):
        return reason.errno == socket.EAI_NONAME
    return isinstance(reason, (FileNotFoundError, IsADirectoryError, PermissionError))


def _words(error: object) -> str:
    return f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
