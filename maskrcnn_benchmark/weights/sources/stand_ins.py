"""Harmless things that files hold beside tensors, read as nothing: stand-ins take what the file gives."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any


class ForbiddenPickleError(pickle.UnpicklingError):
    """A pickle asks for something other than tensors, arrays of numbers and plain values; nothing was run."""


class Skipped:
    """In the place of an object of the class `written_as`, of which nothing is made and nothing is kept."""

    written_as = "?"

    def __new__(cls, *_: object) -> Skipped:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def stand_in(written_as: str) -> type[Skipped]:
    """A class of its own, so that what was skipped can be named."""
    return type("Skipped", (Skipped,), {"written_as": written_as})


def empty_dictionary(*_: object) -> OrderedDict[Any, Any]:
    """For dictionaries of other classes: filled by the file as any dictionary."""
    return OrderedDict()


def empty_list(*_: object) -> list[Any]:
    """For lists of other classes."""
    return []


def attribute_of_stand_in(*arguments: object) -> Skipped:
    """`getattr`, of a class that is skipped itself: so a method is written."""
    owner = arguments[0] if len(arguments) == 2 else None
    if not (isinstance(owner, type) and issubclass(owner, Skipped)):
        raise ForbiddenPickleError("it asks to call builtins.getattr")
    return owner()


_NAMES = (
    *("argparse.Namespace", "types.SimpleNamespace", "uuid.UUID", "decimal.Decimal", "fractions.Fraction"),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(
        f"{module}.{flavour}{system}Path"
        for module in ("pathlib", "pathlib._local")
        for flavour in ("", "Pure")
        for system in ("", "Posix", "Windows")
    ),
    *(
        f"builtins.{name}"
        for name in ("bool", "dict", "float", "frozenset", "int", "list", "object", "range", "slice", "str")
    ),
    *(f"numpy.{name}" for name in ("bool_", "float16", "float32", "float64", "int32", "int64", "uint8")),
    *(f"numpy.random._pickle.__{name}_ctor" for name in ("randomstate", "generator", "bit_generator")),
    *("numpy.random._mt19937.MT19937", "numpy.random._pcg64.PCG64"),
    *("numpy.random.bit_generator.SeedSequence", "numpy.random.bit_generator.__pyx_unpickle_SeedSequence"),
    *("mmengine.logging.history_buffer.HistoryBuffer", "typing.Any"),
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig", "nodes.AnyNode")),
    *(f"omegaconf.base.{name}" for name in ("Metadata", "ContainerMetadata")),
)
_DICTIONARIES = (
    *("collections.defaultdict", "easydict.EasyDict", "addict.addict.Dict", "yacs.config.CfgNode"),
    *("fvcore.common.config.CfgNode", "detectron2.config.config.CfgNode"),
    *("mmcv.utils.config.ConfigDict", "mmengine.config.config.ConfigDict"),
    *(f"{name}.utilities.parsing.AttributeDict" for name in ("pytorch_lightning", "lightning.pytorch")),
    *(f"{name}.utilities.data.AttributeDict" for name in ("lightning_fabric", "lightning.fabric")),
)
# What stands in for each name in a file.
STAND_INS: Mapping[str, Any] = {
    **{name: stand_in(name) for name in _NAMES},
    # a class's objects are filled only where they are OrderedDicts; its call, as a defaultdict's, gives one
    **dict.fromkeys(_DICTIONARIES, OrderedDict),
    "collections.defaultdict": empty_dictionary,
    "collections.deque": empty_list,
    "builtins.getattr": attribute_of_stand_in,
}
