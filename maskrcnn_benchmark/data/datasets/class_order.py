"""One meaning of the labels for all datasets of a run, by the names of their classes."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from maskrcnn_benchmark.data.datasets.validation import DatasetError, shorten

logger = logging.getLogger("maskrcnn_benchmark.data")

SHOWN = 20  # names of a list in a message


class Classified(Protocol):
    """What has classes: a dataset, or several joined."""

    source: str
    categories: dict[int, str]  # names by category id, in the order of the labels 1, 2, ...


def align_classes(datasets: Sequence[Any], like: Classified | None = None) -> None:
    """Gives every dataset the labels of `like`, or of the first one, by `reorder_classes`; said in the log.

    The same (id, name) pairs in another order are mapped, then the same names, then names that differ in
    case, blanks at their ends or Unicode form alone. So categories of one name are told apart by their ids.

    Raises DatasetError, with both lists, where the names are not the same ones.
    """
    reference = like or datasets[0]
    for dataset in datasets:
        ours, theirs = list(dataset.categories.values()), list(reference.categories.values())
        if ours == theirs:
            continue
        order = find_order(list(dataset.categories.items()), list(reference.categories.items()))
        if order is None:
            raise DatasetError(
                f"{dataset.source}: its classes are not those of {reference.source}, with which this run "
                f"labels: {shorten(ours, SHOWN)} here, {shorten(theirs, SHOWN)} there; give the categories "
                "of both the same names, or use other data"
            )
        if order != sorted(order):
            _reorder(dataset, order, reference)
        logger.warning(
            "%s: its classes %s are taken as %s of %s, by their names",
            dataset.source,
            shorten(ours, SHOWN),
            shorten(theirs, SHOWN),
            reference.source,
        )


def find_order(ours: Sequence[tuple[int, str]], theirs: Sequence[tuple[int, str]]) -> list[int] | None:
    """For each (id, name) of `theirs` the position of the same class in `ours`; None where they differ."""
    by_what: tuple[Callable[[tuple[int, str]], Any], ...] = (
        lambda category: category,
        lambda category: category[1],
        lambda category: unicodedata.normalize("NFC", category[1]).strip().casefold(),
    )
    for key in by_what:
        position = {key(category): index for index, category in enumerate(ours)}
        wanted = [key(category) for category in theirs]
        if len(position) == len(ours) == len(set(wanted)) and position.keys() == set(wanted):
            return [position[each] for each in wanted]
    return None


def _reorder(dataset: Any, order: Sequence[int], reference: Classified) -> None:
    reorder = getattr(dataset, "reorder_classes", None)
    if reorder is None:
        raise DatasetError(
            f"{dataset.source}: it has the classes of {reference.source} in another order, and datasets of "
            "its kind have no reorder_classes to follow; list its categories in the same order"
        )
    reorder(order)
