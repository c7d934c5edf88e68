"""Where the weights lie in a file's dictionary: found by structure, whatever its name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

# The family's and Detectron's names, which go before any other, in this order.
STATE_NAMES = ("model", "state_dict", "blobs")
# Tensors that are no weights: moments of an optimizer, a schedule, a loss scaler.
OF_TRAINING = re.compile(r"optim|sched|scaler|momentum", re.IGNORECASE)
# Weights that are another's average: taken where there are no others.
AVERAGE = re.compile(r"(^|_)(ema|swa|avg|averaged?|teacher|shadow)($|_)", re.IGNORECASE)
DEEPEST = 4


@dataclass(frozen=True)
class FoundState:
    """Weights in a file: the names of the dictionaries that lead to them, () for the file's own; the places
    of other weights beside them, as `ema.state_dict`.
    """

    state: dict[str, Tensor]
    place: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def find_state(content: Mapping[str, Any]) -> FoundState:
    """The weights in `content`; without any tensor an empty state.

    They are under `model`, `state_dict` or `blobs`, in this order; where none of these holds tensors, they
    are the dictionary with the most. An average (`ema`) is taken where nothing else has about as many.
    """
    places = dict(_places(content, ()))
    if not places:
        return FoundState({})
    known = next((name for name in STATE_NAMES if any(place[:1] == (name,) for place in places)), None)
    candidates = [place for place in places if known is None or place[:1] == (known,)]
    most = max(len(places[place]) for place in candidates)
    whole = [place for place in candidates if 2 * len(places[place]) >= most]
    chosen = min(whole, key=lambda place: (_is_average(place), -len(places[place])))
    others = (place for place in places if place != chosen and 2 * len(places[place]) >= most)
    return FoundState(places[chosen], chosen, tuple(".".join(place) or "the file itself" for place in others))


def _places(
    content: Mapping[Any, Any], place: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every dictionary with tensors of its own, and where it is; none of an optimizer's."""
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield place, tensors
    for key, value in content.items():
        if isinstance(value, Mapping) and len(place) < DEEPEST and not OF_TRAINING.search(str(key)):
            yield from _places(value, (*place, str(key)))


def _is_average(place: tuple[str, ...]) -> bool:
    return any(map(AVERAGE.search, place))
