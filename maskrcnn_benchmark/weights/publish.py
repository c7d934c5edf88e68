"""The publishable form of weights: one .safetensors file with everything that using them takes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import yaml
from safetensors.torch import save
from torch import Tensor

from maskrcnn_benchmark.utils.disk_space import room_for
from maskrcnn_benchmark.utils.whole_file import open_whole
from maskrcnn_benchmark.weights.matching import beyond_body
from maskrcnn_benchmark.weights.provenance import FORMAT, VERSION, Provenance, provenance_of
from maskrcnn_benchmark.weights.sources.read import RawFile

SUFFIX = ".safetensors"
# What belongs to the machine and the run that wrote the weights, and what a published config has instead.
OF_THE_RUN: Mapping[tuple[str, ...], object] = {
    ("OUTPUT_DIR",): ".",
    ("MODEL", "WEIGHT"): "",
    ("MODEL", "WEIGHT_PARTIAL"): False,
    ("MODEL", "DEVICE"): "auto",
}


def save_publishable(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    config: str = "",
    class_names: Sequence[str] | None = None,
    iteration: int | None = None,
    metrics: Mapping[str, float] | None = None,
    requires: Sequence[tuple[str, object]] = (),
) -> None:
    """Writes weights and their description to `path`, whole or not at all.

    Args:
        state: the weights; a tensor under two names is written once, under the first.
        config: yaml text, of which what concerns the run alone (OUTPUT_DIR, MODEL.WEIGHT, ...) is left out.
        class_names: by label, the background first.
        metrics: measured numbers by name, such as `coco_2017_val/bbox/AP`.
        requires: config keys and the values that the weights need, beyond what `config` says.

    Raises:
        DiskFullError: no room; what was there before stays.
    """
    row = row_of(config) if beyond_body(state) else ""  # a body alone is no row, whatever it was trained for
    metadata = {"format": FORMAT, "version": json.dumps(VERSION), "row": row}
    if config:
        metadata["config"] = published_config(config)
    if class_names is not None:
        metadata["class_names"] = json.dumps(list(class_names))
    if iteration is not None:
        metadata["iteration"] = json.dumps(iteration)
    if metrics:
        metadata["metrics"] = json.dumps(dict(metrics))
    if requires:
        metadata["requires"] = json.dumps([list(pair) for pair in requires])
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in once_each(state)
    }
    with room_for(path, sum(tensor.nbytes for tensor in tensors.values())), open_whole(path, True) as file:
        file.write(save(tensors, metadata))


def publish_from(path: str | os.PathLike[str], state: Mapping[str, Tensor], provenance: Provenance) -> None:
    """`save_publishable` with the description of the file that the weights came from."""
    save_publishable(
        path,
        state,
        provenance.config,
        provenance.class_names,
        provenance.iteration,
        provenance.metrics,
    )


def published_config(config: str) -> str:
    """A config, as yaml, without the places and the machine of the run."""
    tree: dict[str, Any] = yaml.safe_load(config)
    for (*sections, key), value in OF_THE_RUN.items():
        node: Any = tree
        for section in sections:
            node = node.get(section, {})
        if key in node:
            node[key] = value
    return yaml.safe_dump(tree, sort_keys=True)


def config_inside(raw: RawFile) -> str:
    """The config that a file of this project holds, as yaml, without what concerned its run alone.

    Raises:
        ValueError: it holds none.
    """
    config = provenance_of(raw).config
    if not config:
        raise ValueError(
            f"weights file {str(raw.path)!r} holds no config (files of other projects and early checkpoints "
            "do not); give it with --config-file, or write it into a file with: "
            "maskrcnn-benchmark weights strip SRC DST --config-file FILE"
        )
    return published_config(config)


def row_of(config: str) -> str:
    """The row of the results table that a config belongs to, "V-39-FPN Mask R-CNN"; "" without one."""
    model = (yaml.safe_load(config) or {}).get("MODEL", {}) if config else {}
    body = model.get("BACKBONE", {}).get("CONV_BODY", "")
    detector = "Mask R-CNN" if model.get("MASK_ON") else "Faster R-CNN"
    return f"{body} {detector}" if body else ""


def once_each(state: Mapping[str, Tensor]) -> Iterable[tuple[str, Tensor]]:
    """The entries of a state, of those that are one tensor only the first."""
    seen = set()
    for name, tensor in state.items():
        place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        if tensor.numel() == 0 or place not in seen:
            yield name, tensor
        seen.add(place)
