"""A user's own module, by its dotted name or by its file: run because the user named it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType


def import_user_modules(names: Sequence[str], key: str = "IMPORTS") -> None:
    """Imports every module of `names`, in this order; see `import_user_module`.

    Call it before anything is built from a config, with the config's IMPORTS: what the modules register can
    then be named in the config.
    """
    for name in names:
        import_user_module(name, key)


def import_user_module(name: str, key: str) -> ModuleType:
    """Imports `name` once and returns it: a dotted module name, or the path of a .py file.

    A dotted name is looked up on Python's path and in the current folder.

    Args:
        key: the config key or option that named it, for messages.

    Raises:
        ValueError: there is no such module, or it fails while it is imported; the message names both.
    """
    is_file = name.endswith(".py")
    if is_file and not Path(name).is_file():
        raise ValueError(f"{key} = {name!r}: there is no such file")
    try:
        return _import_file(Path(name).resolve()) if is_file else _import_name(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{key} = {name!r}: {error}; give a dotted module name that Python finds from here, or the path "
            "of a .py file"
        ) from error
    except Exception as error:  # whatever a user's file raises, it is the file that must be mended
        raise ValueError(
            f"{key} = {name!r}: {type(error).__name__} while it was imported: {error}"
        ) from error


def _import_name(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    name = f"user_module_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
