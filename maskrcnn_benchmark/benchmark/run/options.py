"""Checks what a user asks for, and turns it into settings, weights and a dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_benchmark.benchmark.results import Settings
from maskrcnn_benchmark.benchmark.run.selection import RowSpec, weights_of
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog

DTYPES = ("float32", "bfloat16", "float16")
FULL_SIZE, QUICK_SIZE = (800, 1333), (224, 373)  # short side, limit of the long one
IMAGES_PER_PROCESS = 2
AP_NEEDS = "AP needs a dataset (--dataset) and a weights file for the row (--weights-dir)"


@dataclass(frozen=True)
class Asked:
    """What a user asked for; None where the option was not given."""

    steps: int | None = None
    images: int | None = None
    batch_sizes: Sequence[int] | None = None
    dtypes: Sequence[str] | None = None
    quick: bool = False
    dataset: str | None = None
    weights_dir: str | None = None
    peers: Sequence[str] = ()
    memory_breakdown: bool = False
    size: tuple[int, int] | None = None
    seed: int = 0


def make_settings(asked: Asked, device_type: str) -> tuple[Settings, str]:
    """The settings of a run, and why no row can have an AP ("" where only weights may be missing).

    A dataset that is not there is left out, and the reason says so; sizes and objects are COCO's then.

    Raises:
        ValueError: a count below one, an unknown dtype, an unknown dataset.
    """
    is_gpu = device_type == "cuda"
    default_sizes: tuple[int, ...] = () if asked.quick else (4, 8) if is_gpu else (4,)
    sizes = default_sizes if asked.batch_sizes is None else asked.batch_sizes
    default_dtypes = ("float32", "bfloat16") if is_gpu and not asked.quick else ("float32",)
    dtypes = tuple(dict.fromkeys(asked.dtypes or default_dtypes))
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise ValueError(f"--dtypes {dtype!r} is unknown; allowed are {', '.join(DTYPES)}")
    absent = "" if asked.dataset is None else why_absent(asked.dataset)
    dataset = None if absent else asked.dataset
    short_side, long_side = asked.size or (QUICK_SIZE if asked.quick else FULL_SIZE)
    settings = Settings(
        steps=_count("--steps", asked.steps, 2 if asked.quick else 20),
        images=_count("--images", asked.images, 3 if asked.quick else 100),
        batch_sizes=tuple(sorted({_count("--batch-sizes", size, 1) for size in sizes})),
        dtypes=dtypes,
        quick=asked.quick,
        images_per_process=IMAGES_PER_PROCESS,
        short_side=short_side,
        long_side=long_side,
        sizes_from=dataset or "COCO statistics",
        dataset=dataset,
        weights_dir=asked.weights_dir,
        peers=tuple(asked.peers),
        memory_breakdown=asked.memory_breakdown,
        seed=asked.seed,
    )
    return settings, f"No AP: {absent}. {AP_NEEDS}." if absent else ""


def why_absent(dataset: str) -> str:
    """Which file of a dataset is missing, and what to do; "" where all are there.

    Raises:
        ValueError: no such dataset in the catalogue.
    """
    arguments = DatasetCatalog.get(dataset)["args"]
    for path, kind in ((arguments["ann_file"], "annotation file"), (arguments["root"], "image folder")):
        if not os.path.exists(path):
            advice = DatasetCatalog.advice(dataset)
            return f"{path}, the {kind} of {dataset}, does not exist; {advice}"
    return ""


def find_weights(folder: str | None, specs: Sequence[RowSpec]) -> Mapping[str, str]:
    """The rows' files in a folder of weights, by row name.

    Raises:
        ValueError: no such folder, or it has none for any row.
    """
    if folder is None:
        return {}
    found = {spec.name: path for spec in specs if (path := weights_of(folder, spec)) is not None}
    if not found:
        raise ValueError(
            f"--weights-dir {folder!r} has a file for none of the rows; name it after the row or its config, "
            f"as {specs[0].name}.pth"
        )
    return {name: str(path) for name, path in found.items()}


def _count(name: str, asked: int | None, default: int) -> int:
    value = default if asked is None else asked
    if value < 1:
        raise ValueError(f"{name} {value} must be 1 or more")
    return value
