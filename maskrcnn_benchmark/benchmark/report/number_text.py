"""How a report writes numbers; "-" for one that is not there."""

from __future__ import annotations

from maskrcnn_benchmark.benchmark.published import AreaAP

NOT_THERE = "-"


def number(value: float | None, digits: int = 1, missing: str = NOT_THERE) -> str:
    """A number for a table, with commas between thousands."""
    return missing if value is None else f"{value:,.{digits}f}"


def milliseconds(value: float | None, missing: str = NOT_THERE) -> str:
    """A time with three meaningful digits at least."""
    return number(value, 0 if value is not None and value >= 100 else 1, missing)


def ratio(value: float | None) -> str:
    """A ratio for a table."""
    return NOT_THERE if value is None else f"{value:.2f}"


def area_text(value: AreaAP | None) -> str:
    """AP/APs/APm/APl, as the published tables write it; the AP alone where nothing else is known."""
    if value is None:
        return NOT_THERE
    if value[1:] == (None, None, None):
        return number(value.ap)
    return "/".join(number(entry) for entry in value)
