"""The folder of a run: can it be written, and does what lies there belong to this run?"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.utils.whole_file import TEMPORARY_SUFFIX, open_whole

CONFIG_FILE = "config.yml"
LAST_CHECKPOINT = "last_checkpoint"
# What a resumed run may do differently: how long it trains, what it writes and tests, where it runs.
FREE_TO_CHANGE = (
    "OUTPUT_DIR",
    "IMPORTS",
    "METRIC_WRITERS",
    "MODEL.DEVICE",
    "MODEL.WEIGHT",
    "MODEL.WEIGHT_PARTIAL",
    "MODEL.COMPILE",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.START_METHOD",
    "SOLVER.MAX_ITER",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.KEEP_CHECKPOINTS",
    "SOLVER.LOG_PERIOD",
    "DATASETS.TEST",
    "TEST.",
)
_SHOWN = 8


def check_run_folder(folder: str | os.PathLike[str], config_text: str, resume: bool) -> None:
    """Makes the folder, and refuses it where it cannot serve this run.

    Args:
        config_text: the resolved config of this run, as yaml.
        resume: whether the run continues the one in the folder.

    Raises:
        ValueError: not writable; a new run over an old one; nothing to resume; the run of another config.
    """
    folder = Path(folder)
    make_writable_folder(folder)
    holds_run = (folder / LAST_CHECKPOINT).is_file()
    if resume and not holds_run:
        raise ValueError(
            f"--resume: nothing to resume in OUTPUT_DIR {str(folder)!r}, it has no {LAST_CHECKPOINT}; "
            "start without --resume, or name the folder of the run"
        )
    if holds_run and not resume:
        raise ValueError(
            f"OUTPUT_DIR {str(folder)!r} already holds a run; continue it with --resume, "
            "or give another OUTPUT_DIR for a new one"
        )
    if resume and (folder / CONFIG_FILE).is_file():
        _check_same_config(folder, config_text)


def write_config(folder: str | os.PathLike[str], config_text: str) -> None:
    """Writes the resolved config as config.yml, and clears away what a killed writer left half-done."""
    for leftover in Path(folder).glob(f"*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)
    with open_whole(Path(folder) / CONFIG_FILE) as file:
        file.write(config_text)


def recorded_seed(folder: str | os.PathLike[str]) -> int | None:
    """The SEED in the folder's config.yml; None where there is none."""
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        return None
    seed = yaml.safe_load(path.read_text(encoding="utf-8")).get("SEED")
    return seed if isinstance(seed, int) else None


def make_writable_folder(folder: str | os.PathLike[str]) -> None:
    """Makes the folder; ValueError where nothing can be written there."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=TEMPORARY_SUFFIX):
            pass
    except OSError as error:
        raise ValueError(
            f"OUTPUT_DIR {os.fspath(folder)!r} cannot be written: {error}; give another one"
        ) from error


def _check_same_config(folder: Path, config_text: str) -> None:
    # a key that came after the run was begun had its default there
    old = _flat(yaml.safe_load(load_config().dump()))
    old |= _flat(yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8")))
    new = _flat(yaml.safe_load(config_text))
    differing = [
        f"{key} {old.get(key)!r} -> {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(FREE_TO_CHANGE)
    ]
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise ValueError(
            f"OUTPUT_DIR {str(folder)!r} holds the run of another config: "
            f"{'; '.join(differing[:_SHOWN])}{more}. "
            f"Resume with {folder / CONFIG_FILE}, or start a new run in another OUTPUT_DIR with MODEL.WEIGHT"
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in tree.items():
        result.update(
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        )
    return result
