"""Any weights file as tensors and plain values: known by its content, read without executing any of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from maskrcnn_benchmark.utils.plain_file import first_line, load_plain
from maskrcnn_benchmark.weights.sources.find_state import FoundState, find_state
from maskrcnn_benchmark.weights.sources.restricted_pickle import (
    ADMITTED_BESIDE_TENSORS,
    load_arrays,
    opened,
)
from maskrcnn_benchmark.weights.sources.stand_ins import ForbiddenPickleError

TORCH_ZIP, TORCH_LEGACY, SAFETENSORS, PICKLE = "PyTorch file", "old PyTorch file", "safetensors", "pickle"
WHAT = "weights file"  # what messages call it
ZIP_START = b"PK\x03\x04"
# A pickle of torch's magic number, with which its files before 1.6 begin.
LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
GIT_LFS_START = b"version https://git-lfs"


@dataclass(frozen=True)
class RawFile:
    """What a weights file holds, on the CPU.

    kind: one of the four names above. content: the file's dictionary as it is, numpy arrays as tensors.
    metadata: the text that a safetensors file carries beside its tensors. skipped: what it holds beside
    tensors and plain values, by place and class; harmless and not read.
    """

    path: Path
    kind: str
    content: dict[str, Any]
    metadata: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @cached_property
    def found_state(self) -> FoundState:
        """The weights and where they are."""
        return find_state(self.content)

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights, under the names in the file.

        Raises ValueError where there is no tensor.
        """
        if not self.found_state.state:
            raise ValueError(f"weights file {str(self.path)!r} holds no tensors")
        return dict(self.found_state.state)


def read_weights(f: str | os.PathLike[str]) -> RawFile:
    """The content of a weights file.

    Raises:
        ValueError: what is wrong with the file and how to mend it, in one line.
    """
    path = Path(f)
    where = f"{WHAT} {os.fspath(f)!r}"
    start = _start_of(path, where)
    _refuse_what_is_no_weights_file(start, where)
    if start.startswith((ZIP_START, LEGACY_START)):
        kind = TORCH_ZIP if start.startswith(ZIP_START) else TORCH_LEGACY
        return _opened(path, kind, load_plain(path, WHAT, ADMITTED_BESIDE_TENSORS), where)
    if _is_safetensors(start):
        return _read_safetensors(path, start, where)
    return _opened(path, PICKLE, _read_pickle(path, where), where)


def _start_of(path: Path, where: str) -> bytes:
    """The first bytes, once it is sure that there is a file to be read."""
    if path.is_dir():
        raise ValueError(f"{where} is a directory; name a file in it")
    if not path.exists():
        raise ValueError(f"{where} does not exist (searched from {Path.cwd()})")
    try:
        with path.open("rb") as file:
            return file.read(512)
    except PermissionError as error:
        raise ValueError(f"{where} may not be read by this user; mend it with: chmod u+r {path}") from error
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error}") from error


def _refuse_what_is_no_weights_file(start: bytes, where: str) -> None:
    again = "download it again"
    if not start:
        raise ValueError(f"{where} is empty, a truncated download; {again}")
    if start.startswith(GIT_LFS_START):
        raise ValueError(f"{where} is a Git LFS pointer, not the file itself; fetch it with: git lfs pull")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        raise ValueError(
            f"{where} is a web page (HTML) saved under this name, as a server sends it that wants a login or "
            f"has the file no longer; {again} and look at what comes"
        )
    if text.startswith(b"\x1f\x8b"):
        raise ValueError(f"{where} is compressed with gzip; unpack it with gunzip")


def _is_safetensors(start: bytes) -> bool:
    """A length of eight bytes, and the header's opening brace."""
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32


def _read_safetensors(path: Path, start: bytes, where: str) -> RawFile:
    header_end = 8 + int.from_bytes(start[:8], "little")
    size = path.stat().st_size
    if header_end > size:
        raise ValueError(f"{where} is truncated: {size} bytes of at least {header_end}; download it again")
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(header_end)[8:])
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        if size < (whole := header_end + max(ends, default=0)):
            raise ValueError(f"{size} of {whole} bytes")
        with safe_open(path, framework="pt", device="cpu") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return RawFile(path, SAFETENSORS, tensors, opened.metadata() or {})
    except Exception as error:  # a damaged header can be anything
        raise ValueError(
            f"{where} is truncated or damaged; download it again: {first_line(error)}"
        ) from error


def _opened(path: Path, kind: str, data: Any, where: str) -> RawFile:
    skipped: list[str] = []
    content = _dictionary(_tensors_for_arrays(opened(data, skipped)), where)
    return RawFile(path, kind, content, skipped=tuple(skipped))


def _read_pickle(path: Path, where: str) -> Any:
    try:
        with path.open("rb") as file:
            return load_arrays(file)
    except ForbiddenPickleError as error:
        raise ValueError(
            f"{where} is a pickle of more than arrays and plain values: {error}; nothing in it was executed"
        ) from error
    except Exception as error:  # a damaged pickle can end the unpickler in any way
        raise ValueError(
            f"{where} is truncated, damaged, or no weights file at all (PyTorch, safetensors or a pickle of "
            f"arrays): {first_line(error)}"
        ) from error


def _dictionary(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} holds a {type(data).__name__} instead of a dictionary")
    return dict(data)


def _tensors_for_arrays(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, dict):
        return {key: _tensors_for_arrays(item) for key, item in value.items()}
    return value
