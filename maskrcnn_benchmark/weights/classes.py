"""The layers of a detector that count classes, when file and model do not mean the same ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from maskrcnn_benchmark.structures.targets import BACKGROUND
from maskrcnn_benchmark.weights.matching import shortened

BACKGROUND_NAMES = (BACKGROUND, "background")
CLASS_LAYER = re.compile(r"roi_heads\.(.+\.)?(cls_score|bbox_pred|mask_fcn_logits)\.(weight|bias)")
# Rows that each class has in a layer.
ROWS_PER_CLASS = {"cls_score": 1, "bbox_pred": 4, "mask_fcn_logits": 1}
SHOWN = 12
# The 80 classes of COCO's detection task, by ascending category id; the first is label 1.
COCO_CLASSES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse"),
    *("sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie"),
    *("suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove"),
    *("skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon"),
    *("bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut"),
    *("cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse"),
    *("remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book"),
    *("clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)


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
        lines.append(f"classes taken by name: {_shortened(taken)}; new, still random: {_shortened(new)}")
        return "\n".join(lines)

    def _name(self, index: int) -> str:
        return self.names[index] if self.names else str(index)


def fit_classes(
    state: dict[str, Tensor],
    recorded: Sequence[str] | None,
    model: nn.Module,
    class_names: Sequence[str] | None,
    may_begin_anew: bool,
    warnings: list[str],
    where: str,
) -> tuple[dict[str, Tensor], ClassTable | None]:
    """The weights with the class-dependent layers in the model's classes, and what became of these layers.

    recorded: the class names that the file holds; () where nothing may be assumed of them. None as the
    second result: the classes are the same, or there are none.

    Raises:
        ValueError: the model has classes that the file does not know, and the purpose is use.
    """
    model_state = model.state_dict()
    theirs, ours = class_count(state), class_count(model_state)
    if theirs is None or ours is None:
        return state, None
    file_names = None if recorded == () else names_of_file(recorded, theirs)
    if file_names is not None and len(file_names) != theirs:
        warnings.append(f"the file names {len(file_names)} classes and has {theirs}: its names are ignored")
        file_names = None
    model_names = _names_of_model(class_names, ours)
    rows = choose_rows(theirs, file_names, ours, model_names)
    layers = dependent_layers(state, model_state)
    if rows == list(range(theirs)) or not layers:
        return state, None
    new = [index for index, row in enumerate(rows) if row is None]
    if (theirs != ours or new) and not may_begin_anew:
        raise ValueError(_other_classes(where, theirs, ours, file_names, model_names))
    table = ClassTable(
        tuple((key, tuple(state[key].shape), tuple(model_state[key].shape)) for key in layers),
        theirs,
        tuple(rows),
        model_names or (),
    )
    return state | take_rows(state, model_state, rows, theirs), table


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
    """For each class of the model, the class of the file with its name; None for a new class.

    Where either side knows no names, an equal number of classes is taken to mean the same ones. Of a name
    that occurs more than once, the first is taken for the first, the second for the second, by ascending id.
    """
    if file_names is None or model_names is None:
        return list(range(file_count)) if file_count == model_count else [None] * model_count
    theirs = {each: row for row, each in enumerate(_occurrences(file_names))}
    rows = [theirs.get(each) for each in _occurrences(model_names)]
    nothing_in_common = all(row is None for row in rows[1:])
    return [None] * model_count if nothing_in_common else rows


def _occurrences(names: Sequence[str]) -> list[tuple[str, int]]:
    """Each name with how often it came before. A class called like the background is not the background."""
    seen = Counter[str]()
    result = [(names[0], -1)]
    for name in names[1:]:
        result.append((name, seen[name]))
        seen[name] += 1
    return result


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


def _names_of_model(class_names: Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    """The model's class names with the background; ValueError where they are not as many as its classes."""
    if class_names is None:
        return None
    names = with_background(class_names)
    if len(names) != count:
        raise ValueError(
            f"{len(names) - 1} class names and the background for a model of {count} classes; "
            f"set MODEL.ROI_BOX_HEAD.NUM_CLASSES {len(names)}"
        )
    return names


def _other_classes(
    where: str,
    theirs: int,
    ours: int,
    file_names: Sequence[str] | None,
    model_names: Sequence[str] | None,
) -> str:
    if theirs != ours:
        difference = f"the file has {theirs} classes with the background, the model {ours}"
        mend = f"set MODEL.ROI_BOX_HEAD.NUM_CLASSES {theirs} and test on data of the file's classes"
    else:
        unknown = [name for name in model_names or () if name not in (file_names or ())]
        difference = f"the file does not know the data's classes {shortened(unknown)}"
        if not unknown:
            repeated = Counter(model_names or ()) - Counter(file_names or ())
            difference = f"the data have more classes of one name than the file: {shortened(list(repeated))}"
        mend = "test on data of the file's classes"
    return (
        f"{where}: {difference}; {mend}, or train it for the new ones: "
        "maskrcnn-benchmark train MODEL.WEIGHT <file>"
    )


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _shortened(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
