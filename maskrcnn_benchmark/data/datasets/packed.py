"""Many small things in a few tensors.

A list of Python strings is copied page by page into every worker process, as soon as the worker counts a
reference to one of them; two tensors are shared, by forked and by spawned workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class PackedBytes(NamedTuple):
    """String i is ``data[starts[i] : starts[i + 1]]``."""

    data: Tensor  # [total bytes] uint8
    starts: Tensor  # [n + 1] int64

    @staticmethod
    def pack(strings: Sequence[bytes]) -> PackedBytes:
        joined = np.frombuffer(b"".join(strings), dtype=np.uint8).copy()
        return PackedBytes(torch.from_numpy(joined), offsets([len(each) for each in strings]))

    def unpack(self, index: int) -> bytes:
        return self.data[self.starts[index] : self.starts[index + 1]].numpy().tobytes()


def offsets(lengths: Sequence[int]) -> Tensor:
    """[n + 1] int64: where each of n consecutive runs starts, and where the last one ends."""
    return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64))


class IdMap(Mapping[int, int]):
    """Image id of every index of a dataset that holds the ``chosen`` of the images; reads like a dict."""

    def __init__(self, image_ids: Tensor, chosen: Tensor) -> None:
        self._image_ids = image_ids
        self._chosen = chosen

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < len(self._chosen):
            raise KeyError(index)
        return int(self._image_ids[self._chosen[index]])

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._chosen)))

    def __len__(self) -> int:
        return len(self._chosen)
