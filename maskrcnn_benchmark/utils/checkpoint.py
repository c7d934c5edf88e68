"""Checkpoints: tensors and plain values only, there whole or not at all, read without executing code."""

from __future__ import annotations

import logging
import os
import pickle
import re
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.config.paths_catalog import ModelCatalog
from maskrcnn_benchmark.utils.weight_matching import WeightMatch, load_state_dict
from maskrcnn_benchmark.utils.whole_file import open_whole

LAST_CHECKPOINT = "last_checkpoint"
CATALOG = "catalog://"
NUMBERED = re.compile(r"model_\d{7}\.pth")


class Stateful(Protocol):
    """Anything with the state-dict methods: an optimizer, a schedule."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Checkpointer:
    """Writes and reads the checkpoints of one run's folder.

    Two different things, never guessed from what lies in a folder: `load(file)` takes the weights of a file
    for a new run or a test; `resume()` continues the run of this folder with everything it had.

    Args:
        save_dir: folder of the run; the file `last_checkpoint` there names the newest checkpoint.
        save_to_disk: whether this process writes (the main one).
        keep: numbered checkpoints (model_0001000.pth) to keep; 0 keeps all. Named ones always stay.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Stateful | None = None,
        scheduler: Stateful | None = None,
        save_dir: str | os.PathLike[str] = "",
        save_to_disk: bool = True,
        logger: logging.Logger | None = None,
        keep: int = 0,
    ) -> None:
        self.model = unwrap_model(model)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.save_dir = Path(save_dir)
        self.save_to_disk = save_to_disk
        self.logger = logger or logging.getLogger("maskrcnn_benchmark.checkpoint")
        self.keep = keep

    def save(self, name: str, **extra: Any) -> Path | None:
        """Writes `name`.pth with model, optimizer, schedule and `extra`, and makes it the last checkpoint."""
        if not self.save_to_disk:
            return None
        data: dict[str, Any] = {"model": self.model.state_dict()}
        if self.optimizer is not None:
            data["optimizer"] = self.optimizer.state_dict()
        if self.scheduler is not None:
            data["scheduler"] = self.scheduler.state_dict()
        path = self.save_dir / f"{name}.pth"
        self.logger.info("Saving checkpoint to %s", path)
        save_plain(path, data | extra)
        with open_whole(self.save_dir / LAST_CHECKPOINT) as file:
            file.write(path.name)
        self._remove_old()
        return path

    def save_weights(self, name: str, **extra: Any) -> Path | None:
        """Writes `name`.pth with the model and `extra` alone; a run cannot be resumed from it."""
        if not self.save_to_disk:
            return None
        path = self.save_dir / f"{name}.pth"
        self.logger.info("Saving weights to %s", path)
        save_plain(path, {"model": self.model.state_dict()} | extra)
        return path

    def load(self, f: str | os.PathLike[str] | None, partial: bool = False) -> dict[str, Any]:
        """Takes the weights of file `f`, and nothing else, for the model; "" or None leaves it as it is.

        Returns:
            What the file holds beside weights, optimizer and schedule (such as the iteration), to look at.

        Raises:
            ValueError: no such file, truncated, of another architecture; see `load_state_dict`.
        """
        if not f:
            self.logger.info("No weights given: the model keeps its initial values")
            return {}
        data = read_checkpoint(f)
        match = self._load_weights(data, f, partial)
        self.logger.info("Weights from %s: %s", f, match)
        return {key: value for key, value in data.items() if key not in ("model", "optimizer", "scheduler")}

    def resume(self) -> dict[str, Any]:
        """Continues from the folder's last checkpoint: model, optimizer and schedule.

        Returns:
            What else was saved: the iteration, the random states.

        Raises:
            ValueError: there is no checkpoint, or it is not one of this run.
        """
        path = self.get_checkpoint_file()
        if not path:
            raise ValueError(
                f"nothing to resume in OUTPUT_DIR {str(self.save_dir)!r}: it has no {LAST_CHECKPOINT}"
            )
        data = read_checkpoint(path)
        self._load_weights(data, path, partial=False)
        for name, part in (("optimizer", self.optimizer), ("scheduler", self.scheduler)):
            if part is not None:
                if name not in data:
                    raise ValueError(
                        f"{path} holds no {name}: it is a file of weights (MODEL.WEIGHT), not of a run"
                    )
                part.load_state_dict(data.pop(name))
        self.logger.info("Resumed from %s", path)
        data.pop("model")
        return data

    def has_checkpoint(self) -> bool:
        """Whether the folder has a last checkpoint."""
        return (self.save_dir / LAST_CHECKPOINT).is_file()

    def get_checkpoint_file(self) -> str:
        """The path of the last checkpoint; "" without one. The folder may have been moved meanwhile."""
        if not self.has_checkpoint():
            return ""
        name = (self.save_dir / LAST_CHECKPOINT).read_text(encoding="utf-8").strip()
        beside = self.save_dir / Path(name).name
        return str(beside if beside.exists() or not Path(name).exists() else name)

    def _load_weights(
        self, data: dict[str, Any], source: str | os.PathLike[str], partial: bool
    ) -> WeightMatch:
        return load_state_dict(
            self.model, model_state_of(data, source), partial, f"weights of {os.fspath(source)}"
        )

    def _remove_old(self) -> None:
        if self.keep:
            numbered = sorted(path for path in self.save_dir.iterdir() if NUMBERED.fullmatch(path.name))
            for path in numbered[: -self.keep]:
                path.unlink(missing_ok=True)


class DetectronCheckpointer(Checkpointer):
    """The family's checkpointer: built with the config, which says how many checkpoints stay."""

    def __init__(
        self,
        cfg: ConfigNode,
        model: nn.Module,
        optimizer: Stateful | None = None,
        scheduler: Stateful | None = None,
        save_dir: str | os.PathLike[str] = "",
        save_to_disk: bool = True,
        logger: logging.Logger | None = None,
    ) -> None:
        super().__init__(
            model, optimizer, scheduler, save_dir, save_to_disk, logger, cfg.SOLVER.KEEP_CHECKPOINTS
        )


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel, or the model itself."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def save_plain(path: str | os.PathLike[str], data: dict[str, Any]) -> None:
    """Writes `data` to `path`, whole or not at all, once it is sure to be readable without executing code."""
    check_plain(data, os.fspath(path))
    with open_whole(path, binary=True) as file:
        torch.save(data, file)


def check_plain(value: Any, name: str) -> None:
    """Raises TypeError where something is neither a tensor nor a plain Python value, naming it."""
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain(key, f"{name}, a key")
            check_plain(item, f"{name}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            check_plain(item, f"{name}[{index}]")
    elif not isinstance(value, Tensor) and type(value) not in (bool, int, float, str, bytes, type(None)):
        raise TypeError(
            f"{name} is of type {type(value).__name__}; a checkpoint holds tensors and plain values only"
        )


def read_checkpoint(f: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a checkpoint file, on the CPU.

    Raises:
        ValueError: no such file, an address, truncated, or holding anything but tensors and plain values.
    """
    path = Path(f)
    if os.fspath(f).startswith(CATALOG):
        ModelCatalog.get(os.fspath(f).removeprefix(CATALOG))
    if "://" in os.fspath(f):
        raise ValueError(
            f"MODEL.WEIGHT {os.fspath(f)!r}: nothing is downloaded here; fetch the file and give its path"
        )
    if not path.is_file():
        raise ValueError(f"weights file {os.fspath(f)!r} does not exist (searched from {Path.cwd()})")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"weights file {os.fspath(f)!r} is not one of tensors and plain values alone, or it is damaged; "
            f"nothing in it was executed. {error}"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError) as error:
        raise ValueError(f"weights file {os.fspath(f)!r} is truncated or no PyTorch file: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(
            f"weights file {os.fspath(f)!r} holds a {type(data).__name__} instead of a dictionary"
        )
    return data


def model_state_of(data: dict[str, Any], source: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights in a checkpoint's content: under `model`, under `state_dict`, or the whole of it."""
    for key in ("model", "state_dict"):
        if isinstance(data.get(key), dict):
            data = data[key]
            break
    state = {key: value for key, value in data.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError(f"weights file {os.fspath(source)!r} holds no tensors")
    return state
