"""What a run asks of the object that writes its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class RunCheckpointer(Protocol):
    """Writes a run's checkpoints and weights into its folder; `weights.checkpoint.Checkpointer` is one.

    Every process calls it; one writes, and the others get None in place of the file's path.
    """

    save_dir: Path

    def save(self, name: str, **extra: Any) -> Path | None:
        """Writes the checkpoint `name`, from which the run can resume: what it trains, and `extra`."""

    def save_weights(
        self, name: str, iteration: int | None = None, results: Mapping[str, float] | None = None
    ) -> Path | None:
        """Writes the model alone, as a checkpoint and to publish. results: metrics by name."""

    def publish(
        self, name: str, iteration: int | None = None, results: Mapping[str, float] | None = None
    ) -> Path | None:
        """Writes the model alone, to publish."""
