"""Which entry of a weights file belongs to which entry of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX

# The C4 detectors' heads contain the body's last stage.
BODY_PART_OF_HEADS = ".feature_extractor.head.layer4."
# What a classifier trained on ImageNet has beyond the body.
CLASSIFIER_PARTS = ("classifier.", "fc.", "head.")
CELL_ANCHORS = "anchor_generator.cell_anchors."
# A batch norm counts its batches; a frozen one has no such entry.
BATCH_COUNT = "num_batches_tracked"
SHOWN = 8


@dataclass
class WeightMatch:
    """The outcome of matching: `loaded` maps model keys to file keys; the rest is what did not fit."""

    loaded: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong_shape: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether model and file hold the same entries."""
        return bool(self.loaded) and not (self.missing or self.unexpected or self.wrong_shape)

    @property
    def is_body(self) -> bool:
        """Whether the file fills the detector's body, all of it and nothing else, as ImageNet weights do."""
        return (
            bool(self.loaded)
            and all(map(is_of_body, self.loaded))
            and not any(map(is_of_body, self.missing))
            and not self.wrong_shape
            and all(key.startswith(CLASSIFIER_PARTS) for key in self.unexpected)
        )

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} entries match"]
        for title, keys in (
            ("missing in the file", self.missing),
            ("unknown to the model", self.unexpected),
            ("of another shape", self.wrong_shape),
        ):
            if keys:
                parts.append(f"{len(keys)} {title}: {', '.join(keys[:SHOWN])}{_and_more(keys)}")
        return "; ".join(parts)

    def listing(self) -> str:
        """Every entry that does not fit, a line each."""
        lines = [f"missing in the file: {key}" for key in self.missing]
        lines += [f"unknown to the model: {key}" for key in self.unexpected]
        return "\n".join(lines + [f"of another shape: {text}" for text in self.wrong_shape])


def is_of_body(key: str) -> bool:
    """Whether an entry of a detector is filled by its body's weights."""
    return key.startswith(BODY_PREFIX) or BODY_PART_OF_HEADS in key


def is_derived(key: str) -> bool:
    """Whether an entry follows from the config or the training alone and is no weight."""
    return CELL_ANCHORS in key or key.endswith(BATCH_COUNT)


def beyond_body(names: Iterable[str]) -> list[str]:
    """The entries of a detector that its body's weights do not fill."""
    return [name for name in names if not is_of_body(name) and not is_derived(name)]


def strip_prefix_if_present(state: Mapping[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    """Drops a wrapper's prefix (DistributedDataParallel's) from the names when every one has it."""
    if state and all(key.startswith(prefix) for key in state):
        return {key[len(prefix) :]: value for key, value in state.items()}
    return dict(state)


def match_keys(model_keys: Iterable[str], loaded_keys: Iterable[str]) -> dict[str, str | None]:
    """For each model key the longest file key that it ends with, cut at a dot; None where there is none.

    So the bare state dict of a body finds its place: `stem.conv1.weight` goes to
    `backbone.body.stem.conv1.weight`.
    """
    known = set(loaded_keys)
    result: dict[str, str | None] = {}
    for key in model_keys:
        parts = key.split(".")
        suffixes = (".".join(parts[start:]) for start in range(len(parts)))
        result[key] = next((suffix for suffix in suffixes if suffix in known), None)
    return result


def shared_names(model: nn.Module) -> dict[str, str]:
    """Names of entries that are the same tensor as an entry with an earlier name -> that name."""
    first: dict[int, str] = {}
    shared = {}
    for kind in (model.named_parameters, model.named_buffers):
        for name, tensor in kind(remove_duplicate=False):
            earlier = first.setdefault(id(tensor), name)
            if earlier != name:
                shared[name] = earlier
    return shared


def match_state(
    model_state: Mapping[str, Tensor],
    loaded: Mapping[str, Tensor],
    shared: Mapping[str, str] | None = None,
) -> WeightMatch:
    """Matches names and shapes; a file without a name of the detector's top level is a bare body's.

    `shared`: see `shared_names`; an entry is not missing where the file has another name of its tensor.
    """
    top_level = {key.split(".", 1)[0] + "." for key in model_state}
    is_detector = any(key.startswith(tuple(top_level)) for key in loaded)
    candidates = [key for key in model_state if is_detector or is_of_body(key)]
    found = match_keys(candidates, loaded)
    if is_detector:
        # a detector's file names its entries in full: a longer look-alike elsewhere is not meant
        found = {key: source if source == key else None for key, source in found.items()}
    match = WeightMatch()
    for key, tensor in model_state.items():
        source = found.get(key)
        if source is None:
            if not is_derived(key):
                match.missing.append(key)
        elif loaded[source].shape != tensor.shape:
            match.wrong_shape.append(f"{key} {tuple(loaded[source].shape)} instead of {tuple(tensor.shape)}")
        else:
            match.loaded[key] = source
    group = {name: (shared or {}).get(name, name) for name in model_state}
    covered = {group[key] for key in match.loaded}
    match.missing = [key for key in match.missing if group[key] not in covered]
    used = {source for source in found.values() if source is not None}
    match.unexpected = [key for key in loaded if key not in used and not is_derived(key)]
    return match


def shortened(names: Sequence[str]) -> str:
    """The number of names and the first of them."""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{_and_more(names)})"


def _and_more(names: Sequence[str]) -> str:
    return f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
