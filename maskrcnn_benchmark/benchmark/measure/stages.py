"""Tells a detector's stages apart without changing its code: wraps the calls of its parts for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import nn

from maskrcnn_benchmark.benchmark.row import STAGES


class StageCall(NamedTuple):
    """The call `owner.attribute(...)` belongs to `stage`."""

    owner: Any
    attribute: str
    stage: str


class StageMeter:
    """Splits what a clock counts (seconds, operations) among stages.

    What is counted between two stages belongs to the later one, after the last stage to post-processing. A
    stage within another is not counted twice.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.totals = dict.fromkeys(STAGES, 0.0)
        self._open: list[str] = []
        self._last = 0.0

    @contextmanager
    def run(self) -> Iterator[None]:
        """Counts one pass of the detector, from its start to its end."""
        self._last = self.clock()
        yield
        self._charge("post_processing")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the stage `name`, from its start to its end."""
        self._charge(self._open[-1] if self._open else name)
        self._open.append(name)
        try:
            yield
        finally:
            self._charge(self._open.pop())

    def _charge(self, stage: str) -> None:
        now = self.clock()
        self.totals[stage] += now - self._last
        self._last = now


@contextmanager
def watched(calls: Sequence[StageCall], meter: StageMeter) -> Iterator[None]:
    """Reports the calls to the meter while this is entered."""
    with ExitStack() as stack:
        for owner, attribute, stage in calls:
            stack.enter_context(replaced(owner, attribute, _in_stage(owner, attribute, stage, meter)))
        yield


def _in_stage(owner: Any, attribute: str, stage: str, meter: StageMeter) -> Callable[..., Any]:
    original = getattr(owner, attribute)

    def call(*args: Any, **keywords: Any) -> Any:
        with meter.stage(stage):
            return original(*args, **keywords)

    return call


@contextmanager
def replaced(owner: Any, attribute: str, value: Any) -> Iterator[None]:
    """Replaces `owner.attribute` by `value` while this is entered, for this object alone."""
    assert not isinstance(getattr(owner, attribute), nn.Module), "replace a module's forward instead"
    own = vars(owner)
    before = own.get(attribute)
    had = attribute in own
    setattr(owner, attribute, value)
    try:
        yield
    finally:
        if had:
            setattr(owner, attribute, before)
        else:
            delattr(owner, attribute)


def stage_call(owner: Any, attribute: str, stage: str) -> list[StageCall]:
    """The call as a list: the attribute's forward where it is a module; empty where there is none."""
    part = getattr(owner, attribute, None)
    if part is None:
        return []
    return [
        StageCall(part, "forward", stage)
        if isinstance(part, nn.Module)
        else StageCall(owner, attribute, stage)
    ]
