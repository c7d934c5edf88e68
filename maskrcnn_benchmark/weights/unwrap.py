"""A file's weights without what wrappers put before their names: DDP, torch.compile, Lightning, averages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX
from maskrcnn_benchmark.weights.architecture import recognize_body
from maskrcnn_benchmark.weights.converters import convert
from maskrcnn_benchmark.weights.foreign_detectors import foreign_detector
from maskrcnn_benchmark.weights.matching import strip_prefix_if_present
from maskrcnn_benchmark.weights.sources.find_state import AVERAGE
from maskrcnn_benchmark.weights.sources.read import RawFile

DDP = "module."
# Parts of names that torch's wrappers put in, at any depth, and that no layer is called.
WRAPPER_PARTS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# What begins this project's own names, and so is no wrapper: a detector's, and a classifier's in pretraining,
# whose batch norms are not yet what a detector takes.
OWN_PARTS = ("backbone", "rpn", "roi_heads", "trunk")
DEEPEST = 4
# Of the wrapped network's entries; where more stand beside it, it is a part and not the whole.
MOST_BESIDE = 0.1
# Places of weights that need no saying.
USUAL_PLACES = ((), ("model",), ("state_dict",), ("blobs",))


@dataclass(frozen=True)
class Unwrapped:
    """Weights under their network's own names.

    notes: sentences on where they were and what came off, for a report. dropped: entries that stood beside
    the wrapped network, such as an average's count.
    """

    state: dict[str, Tensor]
    notes: list[str] = field(default_factory=list)
    dropped: tuple[str, ...] = ()


def unwrap(raw: RawFile, own_names: Collection[str] = ()) -> Unwrapped:
    """The weights of `raw` without wrappers' prefixes.

    A prefix comes off where the names behind it are known and those with it are not. Without such a prefix
    the names stay as they are.

    Args:
        own_names: of the entries of the model that takes them, where there is one; known beside the names
            of this project and of the projects that it converts.

    Raises:
        ValueError: `raw` holds no tensors.
    """
    found = raw.found_state
    notes = []
    if found.place not in USUAL_PLACES:
        notes.append(f"the weights are under {'.'.join(found.place)!r} in the file")
    if found.others:
        notes.append(f"the file holds other weights, which are not taken: {', '.join(found.others)}")
    state = strip_prefix_if_present(_without_wrapper_parts(raw.state))
    own = _with_bare_bodys(own_names)
    prefix, inner = "", state
    while not _is_known(inner, own):
        group = _wrapped_group(inner, own)
        if group is None:
            return Unwrapped(state, notes)
        prefix, inner = f"{prefix}{group}.", _behind(inner, group)
    beside = tuple(name for name in state if not name.startswith(prefix))
    if inner.keys() != raw.state.keys():
        notes.append(f"names in the file have what a wrapper puts in: {_example(raw.state, inner)}")
    return Unwrapped(inner, notes, beside)


def _example(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> str:
    """One entry, by both names."""
    renamed = {id(tensor): name for name, tensor in after.items()}
    theirs, ours = next(
        (name, renamed[id(tensor)]) for name, tensor in before.items() if id(tensor) in renamed
    )
    return f"{theirs!r} for {ours!r}"


def _without_wrapper_parts(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As it was where two entries would get one name."""
    renamed = {
        ".".join(part for part in name.split(".") if part not in WRAPPER_PARTS): tensor
        for name, tensor in state.items()
    }
    return renamed if len(renamed) == len(state) else dict(state)


def _wrapped_group(state: Mapping[str, Tensor], own: frozenset[str]) -> str | None:
    """The first part of the names of the wrapped network; None where it is not clear that this is one."""
    sizes = Counter(name.split(".", 1)[0] for name in state)
    holding = [
        group for group in sizes if group not in OWN_PARTS and _holds_known(_behind(state, group), own)
    ]
    weights = [group for group in holding if not AVERAGE.search(group)] or holding
    if len(weights) != 1:
        return None
    beside = sum(size for group, size in sizes.items() if group not in weights and not AVERAGE.search(group))
    return weights[0] if beside <= MOST_BESIDE * sizes[weights[0]] else None


def _holds_known(state: Mapping[str, Tensor], own: frozenset[str], depth: int = 1) -> bool:
    """Whether the names, or those behind a further prefix, are known."""
    if _is_known(state, own):
        return True
    groups = {name.split(".", 1)[0] for name in state if "." in name}
    return depth < DEEPEST and any(
        _holds_known(_behind(state, group), own, depth + 1) for group in groups if group not in OWN_PARTS
    )


def _behind(state: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    prefix = f"{group}."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _is_known(state: Mapping[str, Tensor], own: frozenset[str]) -> bool:
    """Whether these are names of this project, the family, a project that is converted, or the model's."""
    if any(name.startswith(DDP) for name in state):
        return False  # the recognisers below overlook this prefix
    if any(name.startswith(BODY_PREFIX) for name in state) or not own.isdisjoint(state):
        return True
    return any(recognize(state) is not None for recognize in (recognize_body, convert, foreign_detector))


def _with_bare_bodys(names: Collection[str]) -> frozenset[str]:
    """A model's names, and those of its body's weights alone."""
    bodys = (name.removeprefix(BODY_PREFIX) for name in names if name.startswith(BODY_PREFIX))
    return frozenset((*names, *bodys))
