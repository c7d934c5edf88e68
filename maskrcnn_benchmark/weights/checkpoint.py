"""Checkpoints: tensors and plain values only, there whole or not at all, read without executing code."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml
from torch import nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.utils.comm import unwrap_model
from maskrcnn_benchmark.utils.plain_file import save_plain
from maskrcnn_benchmark.utils.run_folder import LAST_CHECKPOINT
from maskrcnn_benchmark.utils.whole_file import open_whole
from maskrcnn_benchmark.weights.load import LoadOptions, Purpose, load_weights
from maskrcnn_benchmark.weights.load_report import LoadReport, body_alone
from maskrcnn_benchmark.weights.matching import beyond_body
from maskrcnn_benchmark.weights.provenance import FORMAT, VERSION, flat_settings, provenance_of
from maskrcnn_benchmark.weights.publish import SUFFIX, save_publishable
from maskrcnn_benchmark.weights.sources.catalogue import published_body
from maskrcnn_benchmark.weights.sources.read import read_weights
from maskrcnn_benchmark.weights.sources.resolve import read_named

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
        config: the run's config as yaml; written into every file, and compared with that of a file loaded.
        class_names: by label, the background first, where they are known; written into every file.
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
        config: str = "",
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.model = unwrap_model(model)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.save_dir = Path(save_dir)
        self.save_to_disk = save_to_disk
        self.logger = logger or logging.getLogger("maskrcnn_benchmark.checkpoint")
        self.keep = keep
        self.config = config
        self.class_names = None if class_names is None else tuple(class_names)

    def save(self, name: str, **extra: Any) -> Path | None:
        """Writes `name`.pth with model, optimizer, schedule and `extra`, and makes it the last checkpoint.

        Raises DiskFullError where there is no room; the previous checkpoint stays the last one.
        """
        if not self.save_to_disk:
            return None
        data = self._description() | {"model": self.model.state_dict()}
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

    def save_weights(
        self, name: str, iteration: int | None = None, results: Mapping[str, float] | None = None
    ) -> Path | None:
        """Writes `name`.pth and `name`.safetensors with the model alone: no run can resume from them."""
        if not self.save_to_disk:
            return None
        path = self.save_dir / f"{name}.pth"
        self.logger.info("Saving weights to %s", path)
        data = self._description() | {"model": self.model.state_dict()}
        save_plain(path, data | {"iteration": iteration, "results": dict(results or {})})
        self.publish(name, iteration, results)
        return path

    def publish(
        self, name: str, iteration: int | None = None, results: Mapping[str, float] | None = None
    ) -> Path | None:
        """Writes `name`.safetensors: model, config, class names, and `results` (metrics by name)."""
        if not self.save_to_disk:
            return None
        path = self.save_dir / f"{name}{SUFFIX}"
        state = self.model.state_dict()
        save_publishable(path, state, self.config, self.class_names, iteration, results)
        self.logger.info("Weights to publish: %s", path)
        return path

    def load(
        self,
        f: str | os.PathLike[str] | None,
        purpose: Purpose | None = None,
        partial: bool = False,
        class_names: Sequence[str] | None = None,
    ) -> LoadReport:
        """Takes the weights of file `f`, and nothing else, for the model.

        Args:
            f: a path, or a name that stands for a file to be fetched (catalog://, hf://, https://). "" or
                None leaves the model as it is, which only training may.
            purpose: what for, which decides whether a body alone and other classes are accepted. The family's
                call `load(cfg.MODEL.WEIGHT)` states none: it is TRAINING where there is an optimizer, as in
                the family's training, or no file, and USE otherwise, as in its test and demo.
            partial: takes whatever fits, for either purpose.
            class_names: of the model's classes, by label; those of this checkpointer without.

        Returns:
            What was done; `extra` in it is what the file holds beside weights, such as the iteration.

        Raises:
            ValueError: no such file, damaged, of another architecture, or not enough for the purpose; see
                `load_weights`.
        """
        report = LoadReport()
        if purpose is None:
            purpose = Purpose.TRAINING if self.optimizer is not None or not f else Purpose.USE
        if purpose is Purpose.USE and not partial:
            self._check_whole(f)
        if f:
            names = self.class_names if class_names is None else tuple(class_names)
            settings = flat_settings(yaml.safe_load(self.config)) if self.config else None
            options = LoadOptions(purpose, partial, names, settings)
            report = load_weights(self.model, read_named(f), options)
        self.logger.info("%s", report)
        for warning in report.warnings:
            self.logger.warning("%s", warning)
        return report

    def resume(self) -> dict[str, Any]:
        """Continues from the folder's last checkpoint: model, optimizer and schedule.

        `class_names` become the file's.

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
        raw = read_weights(path)
        data = dict(raw.content)
        load_weights(self.model, raw, LoadOptions(Purpose.USE))
        self.class_names = provenance_of(raw).class_names
        for name, part in (("optimizer", self.optimizer), ("scheduler", self.scheduler)):
            if part is not None:
                if name not in data:
                    raise ValueError(
                        f"{path} holds no {name}: it is a file of weights (MODEL.WEIGHT), not of a run"
                    )
                part.load_state_dict(data.pop(name))
        self.logger.info("Resumed from %s", path)
        return {key: value for key, value in data.items() if key not in ("model", *self._description())}

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

    def _check_whole(self, f: str | os.PathLike[str] | None) -> None:
        """Refuses, before anything is downloaded, what is known not to be a whole detector."""
        if not f:
            raise ValueError("no weights to use: give MODEL.WEIGHT path.pth; without, the model is random")
        if entry := published_body(os.fspath(f)):
            missing = beyond_body(self.model.state_dict())
            raise ValueError(body_alone(f"weights {os.fspath(f)}", entry.body, missing))

    def _description(self) -> dict[str, Any]:
        """What every checkpoint says of itself."""
        names = None if self.class_names is None else list(self.class_names)
        return {"format": FORMAT, "version": VERSION, "config": self.config, "class_names": names}

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
        class_names: Sequence[str] | None = None,
    ) -> None:
        keep = cfg.SOLVER.KEEP_CHECKPOINTS
        super().__init__(
            model, optimizer, scheduler, save_dir, save_to_disk, logger, keep, cfg.dump(), class_names
        )


def read_checkpoint(f: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a checkpoint file, on the CPU.

    Raises:
        ValueError: no such file, truncated, or holding anything but tensors and plain values.
    """
    return read_weights(f).content
