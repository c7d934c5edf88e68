"""Names in a config -> builder functions: the seam where guests plug in."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, TypeVar

Builder = TypeVar("Builder", bound=Callable[..., Any])


class Registry(dict[str, Callable[..., Any]]):
    """A dictionary of builders under the names a config uses.

    `@REGISTRY.register("name")` adds a function or class; `REGISTRY[name]` of an unknown name raises a
    ValueError with the config key that asked for it and the nearest known names.
    """

    def __init__(self, key: str) -> None:
        """`key`: the config key whose values are the names of this registry."""
        super().__init__()
        self.key = key

    def register(self, *names: str) -> Callable[[Builder], Builder]:
        """A decorator that adds a builder under one or several names."""

        def add(builder: Builder) -> Builder:
            for name in names:
                assert name not in self, f"{name} is registered twice for {self.key}"
                self[name] = builder
            return builder

        return add

    def __missing__(self, name: str) -> Callable[..., Any]:
        near = difflib.get_close_matches(name, self, n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise ValueError(f"{self.key} = {name!r} is not known{hint}; known: {', '.join(sorted(self))}")
