"""Files of tensors and plain values: there whole or not at all, and readable without executing code."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from maskrcnn_benchmark.utils.disk_space import room_for
from maskrcnn_benchmark.utils.whole_file import open_whole


def save_plain(path: str | os.PathLike[str], data: dict[str, Any]) -> None:
    """Writes `data` to `path`, whole or not at all, once it is sure to be readable without executing code."""
    check_plain(data, os.fspath(path))
    with room_for(path, size_of(data)), open_whole(path, binary=True) as file:
        torch.save(data, file)


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
