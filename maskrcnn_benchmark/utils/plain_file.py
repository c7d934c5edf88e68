"""Files of tensors and plain values: there whole or not at all, and readable without executing code."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from typing import IO, Any

import torch
from torch import Tensor

from maskrcnn_benchmark.utils.disk_space import room_for
from maskrcnn_benchmark.utils.whole_file import open_whole

# In torch's messages: what a file asks for beside tensors and plain values.
UNSUPPORTED = re.compile(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)")


def save_plain(path: str | os.PathLike[str], data: dict[str, Any]) -> None:
    """Writes `data` to `path`, whole or not at all, once it is sure to be readable without executing code."""
    check_plain(data, os.fspath(path))
    with room_for(path, size_of(data)), open_whole(path, binary=True) as file:
        torch.save(data, file)


def load_plain(
    path: str | os.PathLike[str], what: str = "file", stand_ins: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The dictionary that a file of `torch.save` holds, on the CPU; nothing in the file is executed.

    what: what a message calls the file. stand_ins: what to make of names that torch does not admit, by full
    name ("argparse.Namespace").

    Raises:
        ValueError: the file cannot be opened, is damaged, or holds anything but tensors and plain values.
    """
    where = f"{what} {os.fspath(path)!r}"
    try:
        file = open(path, "rb")  # noqa: SIM115  given a path, torch looks at the name, too
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error}") from error
    with file:
        data = _load_without_code(file, where, stand_ins or {})
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} holds a {type(data).__name__} instead of a dictionary")
    return dict(data)


def _load_without_code(file: IO[bytes], where: str, stand_ins: Mapping[str, Any]) -> Any:
    try:
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            if not stand_ins:
                raise
        file.seek(0)
        with torch.serialization.safe_globals([(value, name) for name, value in stand_ins.items()]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{where} is not one of tensors and plain values alone, or it is damaged; have its state_dict() "
            f"saved alone, with torch.save(model.state_dict(), FILE); nothing in it was executed. "
            f"{_torch_reason(error)}"
        ) from error
    except Exception as error:  # a damaged file can end torch's reader in any way
        if "TorchScript" in str(error):
            raise ValueError(
                f"{where} is a TorchScript archive, a program and not weights alone; nothing in it was "
                "executed. Have its state_dict() saved"
            ) from error
        raise ValueError(
            f"{where} is truncated or damaged; download it again: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of a message that says something; the error's type without one."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


def _torch_reason(error: Exception) -> str:
    """What torch refused. The rest of its message advises to read the file unsafely."""
    found = UNSUPPORTED.search(str(error))
    return f"It asks for {found[1]}" if found else type(error).__name__


def size_of(value: Any) -> int:
    """The bytes of all tensors in plain data."""
    if isinstance(value, Tensor):
        return value.nbytes
    items = value.values() if isinstance(value, dict) else value
    return sum(map(size_of, items)) if isinstance(value, (dict, list, tuple)) else 0


def check_plain(value: Any, name: str) -> None:
    """Raises TypeError where something is neither a tensor nor a plain Python value, naming it."""
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain(key, f"{name}, a key")
            check_plain(item, f"{name}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            check_plain(item, f"{name}[{index}]")
    elif not isinstance(value, Tensor) and type(value) not in (bool, int, float, str, bytes, type(None)):
        raise TypeError(
            f"{name} is of type {type(value).__name__}; a checkpoint holds tensors and plain values only"
        )
