"""Pickles of numpy arrays, such as Detectron's .pkl files, read without running anything that they name.

Not even numpy's own reading code runs: a pickle's arrays and dtypes become the two plain classes below,
which take bytes, a shape and a dtype code and nothing else.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from types import FunctionType
from typing import IO, Any

import numpy as np

from maskrcnn_benchmark.weights.sources.stand_ins import (
    STAND_INS,
    ForbiddenPickleError,
    Skipped,
    stand_in,
)

TYPE_CODE = re.compile(r"[biufc]\d{1,2}|b1|\?")  # booleans and numbers
TEXT_CODE = re.compile(r"[SUMm]\d{1,4}")  # text and dates: their arrays are skipped


class PickledType:
    """A dtype of numbers: `f4` for float32, little-endian unless its state says otherwise."""

    def __init__(self, code: str, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not TYPE_CODE.fullmatch(code):
            if not isinstance(code, str) or not TEXT_CODE.fullmatch(code):
                raise ForbiddenPickleError(
                    f"it holds an array of dtype {code!r}, which is no dtype of numbers"
                )
            self.text, self.dtype = code, np.dtype("u1")
        else:
            self.text, self.dtype = "", np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] == ">" and not self.text:
            self.dtype = self.dtype.newbyteorder(">")


class PickledArray:
    """An array that is filled by its state: (version, shape, dtype, whether Fortran order, bytes)."""

    def __init__(self, *_: object) -> None:
        self.array: np.ndarray | Skipped = np.empty(0, np.float32)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, is_fortran, data = state
        self.array = _array(data, kind, shape, "F" if is_fortran else "C")


def read_buffer(data: object, kind: object, shape: tuple[int, ...], order: str) -> PickledArray:
    """The array of a pickle of protocol 5."""
    found = PickledArray()
    found.array = _array(data, kind, shape, order)
    return found


def read_number(kind: object, data: object) -> Any:
    """A number from its bytes."""
    found = _array(data, kind, (), "C")
    return found if isinstance(found, Skipped) else found.item()


def encode(text: str, encoding: str = "latin1") -> bytes:
    """Bytes, which Python 3 writes as latin1 text in the protocols of Python 2."""
    return str(text).encode("latin1" if encoding in ("latin1", "latin-1") else "utf-8")


def no_bytes() -> bytes:
    """What Python 3 writes as `bytes()` in the protocols of Python 2."""
    return b""


def read_counter(counts: object = ()) -> OrderedDict[Any, Any]:
    """A Counter's numbers."""
    return OrderedDict(counts if isinstance(counts, dict) else {})


ADMITTED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "Counter"): read_counter,
    ("_codecs", "encode"): encode,
    ("__builtin__", "bytes"): no_bytes,
    ("numpy", "dtype"): PickledType,
    ("numpy", "ndarray"): PickledArray,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): PickledArray for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): read_number for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): read_buffer for core in ("core", "_core")},
}


def _refuse_state(state: object) -> None:
    raise ForbiddenPickleError("it sets attributes of a function")


# Without it a pickle's BUILD sets attributes of these functions, their default arguments too, for good.
for _admitted in (*ADMITTED.values(), *STAND_INS.values()):
    if isinstance(_admitted, FunctionType):
        _admitted.__dict__["__setstate__"] = _refuse_state


class ArrayUnpickler(pickle.Unpickler):
    """Admits arrays of numbers and plain values; any other name ends the reading."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ADMITTED:
            return ADMITTED[module, name]
        full_name = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if full_name not in STAND_INS:
            raise ForbiddenPickleError(f"it asks to call {module}.{name}")
        return STAND_INS[full_name]

    def persistent_load(self, pid: Any) -> Any:
        raise ForbiddenPickleError("it refers to objects outside the file")


# The same for torch's reader of its own files, by full name.
ADMITTED_BESIDE_TENSORS: Mapping[str, Any] = {
    **{f"{module}.{name}": value for (module, name), value in ADMITTED.items() if module.startswith("numpy")},
    **STAND_INS,
}


def load_arrays(file: IO[bytes]) -> Any:
    """The content of a pickle for `opened`: arrays and plain values; text of Python 2 is read as latin1.

    Raises:
        ForbiddenPickleError: it names anything else. Nothing it names was called.
        Exception: whatever the unpickler says of a damaged file (EOFError, ValueError, KeyError, ...).
    """
    return ArrayUnpickler(file, encoding="latin1").load()


def opened(value: Any, skipped: list[str], place: str = "") -> Any:
    """`value` with the arrays themselves in the place of what held them, and without what was skipped.

    skipped: filled with what was, by place and class: "args (argparse.Namespace)". In a list, None stands
    for it.
    """
    if isinstance(value, PickledArray):
        value = value.array
    if isinstance(value, (Skipped, PickledType, FunctionType, type)):
        skipped.append(f"{place} ({_written_as(value)})")
        return None
    if isinstance(value, dict):
        return _opened_dictionary(value, skipped, place)
    if isinstance(value, (list, tuple)):
        return type(value)(opened(item, skipped, f"{place}[{number}]") for number, item in enumerate(value))
    return value


def _written_as(value: Any) -> str:
    """The name of a class that is skipped, or that an object to be skipped is of."""
    name = "numpy.dtype" if isinstance(value, PickledType) else getattr(value, "written_as", None)
    return name or f"{value.__module__}.{value.__qualname__}"


def _opened_dictionary(value: dict[Any, Any], skipped: list[str], place: str) -> dict[Any, Any]:
    result = {}
    for key, item in value.items():
        before = len(skipped)
        name = opened(key, skipped, f"{place}, a key")
        if len(skipped) > before:
            continue
        item_place = f"{place}.{key}" if place else str(key)
        found = opened(item, skipped, item_place)
        if found is not None or item is None:
            result[name] = found
    return result


def _array(data: object, kind: object, shape: Any, order: str) -> np.ndarray | Skipped:
    if isinstance(kind, PickledType) and kind.text:
        return stand_in(f"numpy array of dtype {kind.text}")()
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(kind, PickledType) or not isinstance(data, (bytes, bytearray)):
        raise ForbiddenPickleError("it holds an array of something other than numbers")
    array = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if order == "F" else "C")
    return array.astype(kind.dtype.newbyteorder("="))  # a copy that may be written to
