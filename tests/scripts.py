"""Commands, and the scripts of tools/, run in the test's own process: quick, and open to a test's patches."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from maskrcnn_benchmark.commands import front_door
from maskrcnn_benchmark.data.datasets.shapes import draw_shapes

TOOLS = Path(__file__).parents[1] / "tools"
LAUNCHER_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK")


def run_script(script: str | Path, *arguments: object) -> int:
    """The exit status of a script's `main`, started by no launcher and with these arguments.

    Afterwards the command line and the environment are as they were, and the log's files are closed.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        for name in LAUNCHER_VARIABLES:
            patch.delenv(name, raising=False)
        module = load_script(Path(script), patch)
        try:
            return int(module.main())
        finally:
            close_log()


def run_command(*arguments: object) -> int:
    """The exit status of `maskrcnn-benchmark ARGUMENTS`, as `run_script`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["maskrcnn-benchmark", *map(str, arguments)])
        for name in LAUNCHER_VARIABLES:
            patch.delenv(name, raising=False)
        try:
            return front_door.main()
        finally:
            close_log()


def with_arguments(options: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """A tool's command line: its `--config-file FILE`, all flags, and then the keys of both.

    options: `--config-file FILE KEY VALUE ..`; arguments: flags without values, keys and values.
    """
    flags = [a for a in arguments if a.startswith("--")]
    keys = [a for a in arguments if not a.startswith("--")]
    return [*options[:2], *flags, *options[2:], *keys]


def draw_few_shapes(root: Path) -> Path:
    """The embedded dataset, a few images small, in a folder of datasets; that folder."""
    draw_shapes(str(root / "shapes"), num_train=8, num_val=5, size=64)
    return root


def load_script(path: Path, patch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, in `sys.modules` until `patch` is undone."""
    spec = importlib.util.spec_from_file_location(f"{path.stem}_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def close_log() -> None:
    """Closes the handlers that `setup_logger` left, and hands later records to pytest again."""
    logger = logging.getLogger("maskrcnn_benchmark")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
