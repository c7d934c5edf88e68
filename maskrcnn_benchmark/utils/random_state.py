"""The random generators of a process: seeds, determinism, and their states as plain values."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

RandomState = dict[str, Any]


def choose_seed(seed: int) -> int:
    """`seed` itself, or one drawn from the operating system when it is negative."""
    return seed if seed >= 0 else int.from_bytes(os.urandom(4), "little")


def seed_everything(seed: int) -> None:
    """Seeds the generators of Python, numpy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # what others draw from the global generator repeats too
    torch.manual_seed(seed)


def use_deterministic_algorithms() -> None:
    """Deterministic algorithms wherever there are any; torch warns of an operation that has none, by name."""
    # cuBLAS reads this when it starts: its workspaces must not depend on the streams
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def random_state(device: torch.device) -> RandomState:
    """The states of all generators as tensors and plain values; of the GPUs that of `device`."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    version, words, gauss = random.getstate()
    state: RandomState = {
        "torch": torch.get_rng_state(),
        "numpy": {
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Puts the generators back to a state from `random_state`."""
    torch.set_rng_state(state["torch"])
    saved = state["numpy"]
    key = saved["key"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", key, saved["pos"], saved["has_gauss"], saved["gauss"]))  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """What happens inside draws from the generators without a trace."""
    state = random_state(device)
    try:
        yield
    finally:
        set_random_state(state, device)
