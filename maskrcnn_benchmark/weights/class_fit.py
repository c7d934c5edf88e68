"""A detector's weights for a model of other classes: rows taken by name, the rest begun anew."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.weights.classes import (
    ClassTable,
    choose_rows,
    class_count,
    dependent_layers,
    names_of_file,
    take_rows,
    with_background,
)
from maskrcnn_benchmark.weights.load_report import LoadReport, shortened


def fit_classes(
    state: dict[str, Tensor],
    recorded: Sequence[str] | None,
    model: nn.Module,
    class_names: Sequence[str] | None,
    may_begin_anew: bool,
    report: LoadReport,
    where: str,
) -> dict[str, Tensor]:
    """The class-dependent layers in the model's classes, where these are not the file's."""
    model_state = model.state_dict()
    theirs, ours = class_count(state), class_count(model_state)
    if theirs is None or ours is None:
        return state
    file_names = None if recorded == () else names_of_file(recorded, theirs)
    if file_names is not None and len(file_names) != theirs:
        report.warnings.append(
            f"the file names {len(file_names)} classes and has {theirs}: its names are ignored"
        )
        file_names = None
    model_names = with_background(class_names) if class_names is not None else None
    if model_names is not None and len(model_names) != ours:
        raise ValueError(
            f"{len(model_names) - 1} class names and the background for a model of {ours} classes; "
            f"set MODEL.ROI_BOX_HEAD.NUM_CLASSES {len(model_names)}"
        )
    rows = choose_rows(theirs, file_names, ours, model_names)
    layers = dependent_layers(state, model_state)
    if rows == list(range(theirs)) or not layers:
        return state
    new = [index for index, row in enumerate(rows) if row is None]
    if (theirs != ours or new) and not may_begin_anew:
        raise ValueError(_other_classes(where, theirs, ours, file_names, model_names))
    report.classes = ClassTable(
        tuple((key, tuple(state[key].shape), tuple(model_state[key].shape)) for key in layers),
        theirs,
        tuple(rows),
        model_names or (),
    )
    return state | take_rows(state, model_state, rows, theirs)


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
        mend = "test on data of the file's classes"
    return (
        f"{where}: {difference}; {mend}, or train it for the new ones: tools/train_net.py MODEL.WEIGHT <file>"
    )
