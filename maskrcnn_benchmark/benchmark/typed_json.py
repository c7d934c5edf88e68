"""Plain JSON values to dataclasses and back; a value that does not fit is named by its path.

Fields may be of the types int, float, str, bool, a dataclass, tuple[T, ...], dict[str, T], and any of these
or None. Numbers are finite and not negative. An entry may be missing only where the field has a default.
"""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def from_plain(kind: type[T], value: Any, path: str = "") -> T:
    """Turns `value` (what json.load gives) into an instance of the dataclass `kind`.

    Raises:
        ValueError: a value of another type, a missing or an unknown entry; names its path, what came and what
            is allowed.
    """
    result: T = _convert(kind, value, path)
    return result


def to_plain(value: Any) -> Any:
    """Turns a dataclass and all it holds into dictionaries, lists and plain values, ready for json.dump."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def _convert(kind: Any, value: Any, path: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _convert(kind, value, path)
    if origin is Literal:
        if value not in arguments:
            raise _wrong(path, value, "one of " + ", ".join(map(repr, arguments)))
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(path, value, "a list")
        return tuple(_convert(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(path, value, "an object")
        return {key: _convert(arguments[1], item, f"{path}[{key!r}]") for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, path)
    return _plain(kind, value, path)


def _dataclass(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(path, value, f"an object ({kind.__name__})")
    hints = get_type_hints(kind)
    prefix = f"{path}." if path else ""
    for name in value:
        if name not in hints:
            allowed = ", ".join(hints)
            raise ValueError(f"{prefix}{name}: unknown entry; {path or 'the file'} has: {allowed}")
    for field in dataclasses.fields(kind):
        if field.name not in value and field.default is dataclasses.MISSING:
            raise ValueError(f"{prefix}{field.name}: missing")
    return kind(**{name: _convert(hints[name], each, f"{prefix}{name}") for name, each in value.items()})


def _plain(kind: Any, value: Any, path: str) -> Any:
    if kind in (int, float):
        is_number = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value < 0:
            wanted = "a whole number" if kind is int else "a finite number"
            raise _wrong(path, value, f"{wanted}, 0 or more")
        return kind(value)
    if not isinstance(value, kind):
        raise _wrong(path, value, {str: "a text", bool: "true or false"}[kind])
    return value


def _wrong(path: str, value: Any, wanted: str) -> ValueError:
    return ValueError(f"{path or 'the file'}: {value!r:.80} is not {wanted}")
