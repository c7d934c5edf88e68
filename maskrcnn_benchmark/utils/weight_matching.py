"""Which entry of a weights file belongs to which entry of a model, and what to say where they do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

BODY_PREFIX = "backbone.body."
# what a classifier trained on ImageNet has beyond the body
CLASSIFIER_PARTS = ("classifier.", "fc.", "head.")
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
        return not (self.missing or self.unexpected or self.wrong_shape)

    @property
    def is_body(self) -> bool:
        """Whether the file fills the detector's body, all of it and nothing else, as ImageNet weights do."""
        return (
            bool(self.loaded)
            and all(key.startswith(BODY_PREFIX) for key in self.loaded)
            and not any(key.startswith(BODY_PREFIX) for key in self.missing)
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
                more = f", and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
                parts.append(f"{len(keys)} {title}: {', '.join(keys[:SHOWN])}{more}")
        return "; ".join(parts)


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


def match_state(model_state: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> WeightMatch:
    """Matches names and shapes; a file without a name of the detector's top level is a bare body's."""
    top_level = {key.split(".", 1)[0] + "." for key in model_state}
    is_detector = any(key.startswith(tuple(top_level)) for key in loaded)
    candidates = [key for key in model_state if is_detector or key.startswith(BODY_PREFIX)]
    found = match_keys(candidates, loaded)
    if is_detector:
        # a detector's file names its entries in full: a longer look-alike elsewhere is not meant
        found = {key: source if source == key else None for key, source in found.items()}
    match = WeightMatch()
    for key, tensor in model_state.items():
        source = found.get(key)
        if source is None:
            match.missing.append(key)
        elif loaded[source].shape != tensor.shape:
            match.wrong_shape.append(f"{key} {tuple(loaded[source].shape)} instead of {tuple(tensor.shape)}")
        else:
            match.loaded[key] = source
    used = {source for source in found.values() if source is not None}
    # a batch norm counts its batches; a frozen one has no such entry
    match.unexpected = [key for key in loaded if key not in used and not key.endswith("num_batches_tracked")]
    return match


@torch.no_grad()
def load_state_dict(
    model: nn.Module, loaded: Mapping[str, Tensor], partial: bool = False, source: str = "the weights"
) -> WeightMatch:
    """Copies the entries of `loaded` into `model`.

    Accepted are a complete detector and a complete body (the rest keeps its initial values); with `partial`
    also whatever part of a file fits.

    Raises:
        ValueError: something does not fit; the message lists it, and the model is as before.
    """
    loaded = strip_prefix_if_present(loaded)
    model_state = model.state_dict()
    match = match_state(model_state, loaded)
    if not match.loaded:
        raise ValueError(f"{source}: no entry fits the model, they are of another architecture: {match}")
    if not (match.is_complete or match.is_body or partial):
        raise ValueError(
            f"{source} are of another architecture: {match}. "
            "To take what fits and leave the rest at its initial values, say MODEL.WEIGHT_PARTIAL True"
        )
    for key, name in match.loaded.items():
        model_state[key].copy_(loaded[name])
    return match
