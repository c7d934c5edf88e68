"""Which rows to measure: their names, their configs, and the weights that belong to them."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_benchmark.config.files import packaged_configs

CONFIGS = packaged_configs()
# The rows of the VoVNet table, in its order: measured where no others are asked for.
TABLE_ROWS = {
    "faster-R-50": "e2e_faster_rcnn_R_50_FPN_2x.yaml",
    "faster-R-101": "e2e_faster_rcnn_R_101_FPN_2x.yaml",
    "faster-V-39": "vovnet/e2e_faster_rcnn_V_39_FPN_2x.yaml",
    "faster-V-57": "vovnet/e2e_faster_rcnn_V_57_FPN_2x.yaml",
    "mask-R-50": "e2e_mask_rcnn_R_50_FPN_2x.yaml",
    "mask-R-101": "e2e_mask_rcnn_R_101_FPN_2x.yaml",
    "mask-V-39": "vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml",
    "mask-V-57": "vovnet/e2e_mask_rcnn_V_57_FPN_2x.yaml",
}
# The larger bodies of the table's successor.
MORE_ROWS = {
    "faster-V-75": "vovnet/e2e_faster_rcnn_V_75_FPN_2x.yaml",
    "faster-V-93": "vovnet/e2e_faster_rcnn_V_93_FPN_2x.yaml",
    "mask-V-75": "vovnet/e2e_mask_rcnn_V_75_FPN_2x.yaml",
    "mask-V-93": "vovnet/e2e_mask_rcnn_V_93_FPN_2x.yaml",
}
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pkl")


@dataclass(frozen=True)
class RowSpec:
    """A row to measure: its name, and the path of its config."""

    name: str
    config: str

    @property
    def shown_config(self) -> str:
        """The path from the project's folder where the config lies in it."""
        path = Path(self.config).resolve()
        return str(path.relative_to(CONFIGS.parent)) if path.is_relative_to(CONFIGS.parent) else self.config


def find_rows(asked: Sequence[str]) -> list[RowSpec]:
    """Finds rows by name ("faster-V-39"), path and pattern ("configs/vovnet/*.yaml"); the table's for none.

    Raises:
        ValueError: a name that is no row and no file (the nearest rows are named); no config is there.
    """
    known = known_rows()
    specs: dict[str, RowSpec] = {}
    for name in asked or TABLE_ROWS:
        found = [known[name]] if name in known else _files(name, known)
        specs.update((spec.config, spec) for spec in found)
    return list(specs.values())


def known_rows() -> dict[str, RowSpec]:
    """The named rows whose config is there.

    Raises:
        ValueError: the package does not lie in a checkout with its configs.
    """
    paths = {name: CONFIGS / file for name, file in (TABLE_ROWS | MORE_ROWS).items()}
    rows = {name: RowSpec(name, str(path)) for name, path in paths.items() if path.is_file()}
    if not rows:
        raise ValueError(
            f"{CONFIGS} holds no configs: install the package with its configs, or give --configs paths"
        )
    return rows


def _files(pattern: str, known: dict[str, RowSpec]) -> list[RowSpec]:
    """The configs of a path or pattern; a config that is a named row's gets that name."""
    paths = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())
    if not paths:
        stems = {Path(spec.config).stem: name for name, spec in known.items()}
        near = difflib.get_close_matches(pattern, [*known, *stems], n=3, cutoff=0.4)
        hint = f"; nearest: {', '.join(stems.get(name, name) for name in near)}" if near else ""
        raise ValueError(
            f"--configs {pattern!r} is neither a row nor a config file{hint}; rows: {', '.join(known)}"
        )
    by_path = {Path(spec.config).resolve(): spec for spec in known.values()}
    return [by_path.get(Path(path).resolve(), RowSpec(Path(path).stem, path)) for path in paths]


def weights_of(folder: str, spec: RowSpec) -> Path | None:
    """The row's file in a folder of weights: named after the row or its config. None: there is none.

    Raises:
        ValueError: no such folder.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"--weights-dir {folder!r} is no folder; give the one that holds the rows' files")
    for stem in (spec.name, Path(spec.config).stem):
        for suffix in WEIGHT_SUFFIXES:
            path = Path(folder) / f"{stem}{suffix}"
            if path.is_file():
                return path
    return None
