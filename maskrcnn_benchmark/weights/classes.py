"""The layers of a detector that count classes, when file and model do not mean the same ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from maskrcnn_benchmark.weights.coco_classes import COCO_CLASSES

BACKGROUND = "__background__"
BACKGROUND_NAMES = (BACKGROUND, "background")
CLASS_LAYER = re.compile(r"roi_heads\.(.+\.)?(cls_score|bbox_pred|mask_fcn_logits)\.(weight|bias)")
# Rows that each class has in a layer.
ROWS_PER_CLASS = {"cls_score": 1, "bbox_pred": 4, "mask_fcn_logits": 1}
SHOWN = 12


@dataclass(frozen=True)
class ClassTable:
    """What became of the class-dependent layers.

    layers: (name, shape in the file, shape in the model). rows: for each class of the model the class of the
    file that it was taken from; None where it keeps its initial values. names: of the model's classes, the
    background first; empty where they are not known.
    """

    layers: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    file_count: int
    rows: tuple[int | None, ...]
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        new = [self._name(index) for index, row in enumerate(self.rows) if row is None]
        taken = [self._name(index) for index, row in enumerate(self.rows) if row is not None]
        width = max(len(name) for name, _, _ in self.layers)
        lines = [f"{'class-dependent layer':{width}}  in the file      in the model"]
        lines += [f"{name:{width}}  {_sizes(a):<15}  {_sizes(b)}" for name, a, b in self.layers]
        lines.append(f"classes taken by name: {_shortened(taken)}; initialised anew: {_shortened(new)}")
        return "\n".join(lines)

    def _name(self, index: int) -> str:
        return self.names[index] if self.names else str(index)


def with_background(names: Sequence[str]) -> tuple[str, ...]:
    """Class names by label, the background at 0, from names with or without it."""
    if names and names[0] in BACKGROUND_NAMES:
        return (BACKGROUND, *names[1:])
    return (BACKGROUND, *names)


def class_count(state: Mapping[str, Tensor]) -> int | None:
    """Classes of a detector's weights, the background included; None where there is no class layer."""
    for key, tensor in state.items():
        match = CLASS_LAYER.fullmatch(key)
        if match and match[2] == "cls_score" and tensor.dim() > 0:
            return len(tensor)
    return None


def names_of_file(recorded: Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    """The class names of a file: those it holds, or COCO's where there are 81 classes and no names.

    The published files of 2018 and 2019 hold none; they were trained on COCO, by ascending category id.
    """
    if recorded is not None:
        return with_background(recorded)
    return with_background(COCO_CLASSES) if count == len(COCO_CLASSES) + 1 else None


def choose_rows(
    file_count: int,
    file_names: Sequence[str] | None,
    model_count: int,
    model_names: Sequence[str] | None,
) -> list[int | None]:
    """For each class of the model, the class of the file with its name; None for a class to begin anew.

    Where either side knows no names, an equal number of classes is taken to mean the same ones.
    """
    if file_names is None or model_names is None:
        return list(range(file_count)) if file_count == model_count else [None] * model_count
    rows: list[int | None] = [file_names.index(name) if name in file_names else None for name in model_names]
    nothing_in_common = all(row is None for row in rows[1:])
    return [None] * model_count if nothing_in_common else rows


def take_rows(
    state: Mapping[str, Tensor],
    model_state: Mapping[str, Tensor],
    rows: Sequence[int | None],
    file_count: int,
) -> dict[str, Tensor]:
    """The class-dependent layers of `state` in the model's order and size, new classes as in the model."""
    result = {}
    for key in dependent_layers(state, model_state):
        theirs, ours = state[key], model_state[key]
        per_class = len(theirs) // file_count
        chosen = ours.detach().to(theirs.device, copy=True)
        for index, row in enumerate(rows):
            if row is not None:
                begin = row * per_class
                chosen[index * per_class : (index + 1) * per_class] = theirs[begin : begin + per_class]
        result[key] = chosen
    return result


def dependent_layers(state: Mapping[str, Tensor], model_state: Mapping[str, Tensor]) -> list[str]:
    """Keys of both sides whose first dimension counts classes; a class-agnostic box layer is not among them.

    A layer that differs in more than the number of classes is not either: it shows as one of another shape.
    """
    counts = class_count(state), class_count(model_state)
    found = []
    for key in state:
        match = CLASS_LAYER.fullmatch(key)
        if match and key in model_state and None not in counts:
            sides = (state[key], model_state[key])
            rows = [count * ROWS_PER_CLASS[match[2]] for count in counts if count]
            if [side.shape[:1].numel() for side in sides] == rows and sides[0].shape[1:] == sides[1].shape[
                1:
            ]:
                found.append(key)
    return found


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _shortened(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
