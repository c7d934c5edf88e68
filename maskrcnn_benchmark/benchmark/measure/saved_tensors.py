"""What autograd keeps for backward, module by module."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.benchmark.row import SavedForBackward
from maskrcnn_benchmark.utils.device import MIB

OUTSIDE = "(outside every module)"


class SavedTensors:
    """Adds up what autograd saves, by the module whose forward is running.

    A storage counts once, for the first module that keeps it; parameters and buffers, which are there anyway,
    do not count.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._names = {module: name for name, module in model.named_modules()}
        self._running: list[str] = []
        self._known = {
            tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())
        }
        self._bytes: dict[str, int] = defaultdict(int)
        self._tensors: dict[str, int] = defaultdict(int)
        self._held: list[Tensor] = []  # what is freed could give its address to another

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts what one forward pass saves while this is entered."""
        hooks = []
        for module in self._names:
            hooks.append(module.register_forward_pre_hook(self._enter))
            hooks.append(module.register_forward_hook(self._leave, always_call=True))
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._save, lambda saved: saved):
                yield
        finally:
            for hook in hooks:
                hook.remove()
            self._held.clear()

    def breakdown(self) -> list[SavedForBackward]:
        """What each module keeps, largest first."""
        found = [
            SavedForBackward(name, size / MIB, self._tensors[name]) for name, size in self._bytes.items()
        ]
        return sorted(found, key=lambda each: -each.mib)

    def _enter(self, module: nn.Module, _inputs: Any) -> None:
        self._running.append(self._names[module])

    def _leave(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        self._running.pop()

    def _save(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._known.add(storage.data_ptr())
            self._held.append(tensor.detach())
            name = self._running[-1] if self._running else OUTSIDE
            self._bytes[name] += storage.nbytes()
            self._tensors[name] += 1
        return tensor
