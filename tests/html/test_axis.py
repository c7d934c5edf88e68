"""The axes of plots: round ticks that hold every value."""

from __future__ import annotations

import pytest

from maskrcnn_benchmark.html.axis import make_axis, tick_text


@pytest.mark.parametrize("values", [[1.0], [0.95, 1.0, 1.31], [37.4, 42.1], [200.0, 2300.0], [0.001, 0.0012]])
def test_axes_are_round_and_hold_everything(values: list[float]) -> None:
    axis = make_axis(values, 40, 400)
    places = [axis.place(value) for value in values]
    assert all(40 < place < 400 for place in places) and places == sorted(places)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 10
    assert axis.place(ticks[0]) == pytest.approx(40) and axis.place(ticks[-1]) == pytest.approx(400)


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (1.0, 0.1, "1.0"),
        (1.25, 0.25, "1.25"),
        (0.975, 0.025, "0.975"),
        (1200.0, 200.0, "1200"),
        (2.5, 2.5, "2.5"),
    ],
)
def test_ticks_differ_from_their_neighbours(value: float, step: float, text: str) -> None:
    assert tick_text(value, step) == text
