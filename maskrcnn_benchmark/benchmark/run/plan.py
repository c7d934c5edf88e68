"""The rows of a run in their order: every detector in every dtype, then the peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from maskrcnn_benchmark.benchmark.measure.peers import PEERS, TORCHVISION, TORCHVISION_MODELS
from maskrcnn_benchmark.benchmark.results import Settings
from maskrcnn_benchmark.benchmark.row import OURS, Row
from maskrcnn_benchmark.benchmark.run.job import Job
from maskrcnn_benchmark.benchmark.run.ready_row import row_options
from maskrcnn_benchmark.benchmark.run.selection import RowSpec
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.engine.full_test import make_backbone_name
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.evaluation import check_expected
from maskrcnn_benchmark.utils.user_module import import_user_modules


@dataclass(frozen=True)
class PlannedRow:
    """A row that is to be measured, with everything that is known beforehand.

    Attributes:
        shown_config: as it stands in `Row`.
        notes: what stands in `Row` whatever is measured.
    """

    spec: RowSpec
    implementation: str
    backbone: str
    detector: str
    dtype: str
    device: str
    weights: str | None
    shown_config: str
    notes: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells the rows of a run apart."""
        return self.spec.name, self.implementation, self.dtype

    def job(self, parts: tuple[str, ...], settings: Settings, folder: Path) -> Job:
        """The job that measures some parts of the row."""
        return Job(
            name=self.spec.name,
            config=self.spec.config,
            implementation=self.implementation,
            detector=self.detector,
            dtype=self.dtype,
            parts=parts,
            device=self.device,
            weights=self.weights,
            folder=str(folder / "evaluation" / self.spec.name),
            settings=settings,
        )


def key_of(row: Row) -> tuple[str, str, str]:
    """The key of a measured row."""
    return row.name, row.implementation, row.dtype


def plan_rows(
    specs: Sequence[RowSpec],
    settings: Settings,
    device: str,
    weights: Mapping[str, str],
    missing: str = "",
) -> list[PlannedRow]:
    """Every row of a run; reads every config, so that a wrong one is found before anything is measured.

    Args:
        weights: files by row name.
        missing: why no row can have an AP; "" where nothing is in the way but weights.

    Raises:
        ValueError: a config that does not load; an unknown peer.
    """
    unknown = [peer for peer in settings.peers if peer not in PEERS]
    if unknown:
        raise ValueError(f"--peers {unknown[0]!r} is unknown; there are: {', '.join(PEERS)}")
    ours: list[PlannedRow] = []
    peers: list[PlannedRow] = []
    for spec in specs:
        backbone, detector = make_checked_names(spec.config, settings, device)
        function = TORCHVISION_MODELS.get((backbone, detector))
        for dtype in settings.dtypes:
            file = weights.get(spec.name)
            notes = _notes(file, settings, missing)
            ours.append(
                PlannedRow(spec, OURS, backbone, detector, dtype, device, file, spec.shown_config, notes)
            )
            if TORCHVISION in settings.peers and function is not None:
                shown = f"torchvision.models.detection.{function}"
                peers.append(
                    PlannedRow(spec, TORCHVISION, backbone, detector, dtype, device, None, shown, ())
                )
    return [*ours, *peers]


def make_checked_names(config: str, settings: Settings, device: str) -> tuple[str, str]:
    """Backbone and detector of a config that can be measured."""
    cfg = load_config(config, row_options(settings, settings.dtypes[0], device, ""))
    check_expected(cfg.TEST.EXPECTED_RESULTS)
    import_user_modules(cfg.IMPORTS)
    with torch.device("meta"):  # names alone: nothing is allocated
        kind = build_detection_model(cfg).kind
    return make_backbone_name(cfg), kind


def _notes(weights: str | None, settings: Settings, missing: str) -> tuple[str, ...]:
    if missing:
        return (missing,)
    if settings.weights_dir is not None and weights is None:
        return ("No AP: the folder of weights has none for this row.",)
    if weights is not None and settings.dataset is None:
        return ("No AP: it needs a dataset (--dataset).",)
    if weights is not None and settings.quick:
        return (f"AP on images with a short side of {settings.short_side}: a quick run's, not the row's.",)
    return ()
