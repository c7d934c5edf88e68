"""How two files of weights differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from maskrcnn_benchmark.weights.load_checks import with_arithmetic
from maskrcnn_benchmark.weights.matching import shortened

SHOWN = 12


@dataclass(frozen=True)
class Difference:
    """equal: how many entries are the same. only_first, only_second: names.

    shapes: (name, first, second). values: (name, largest absolute difference, the same relative to the first
    file's largest value), by the relative one, the largest first.
    """

    equal: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    shapes: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    values: tuple[tuple[str, float, float], ...]

    @property
    def is_none(self) -> bool:
        """Whether the weights are the same, bit by bit."""
        return not (self.only_first or self.only_second or self.shapes or self.values)

    def __str__(self) -> str:
        lines = [f"{self.equal} tensors are equal bit by bit"]
        for title, names in (("first", self.only_first), ("second", self.only_second)):
            if names:
                lines.append(f"only in the {title} file: {shortened(names)}")
        lines += [
            f"shape {first} in the first, {second} in the second: {name}"
            for name, first, second in self.shapes
        ]
        if self.values:
            lines.append(
                f"{len(self.values)} differ in value; the largest differences, absolute and relative:"
            )
            lines += [f"  {most:10.3e} {part:10.3e}  {name}" for name, most, part in self.values[:SHOWN]]
        return "\n".join(lines)


def difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Difference:
    """Compares two states by name."""
    both = [name for name in first if name in second]
    values = []
    shapes = []
    for name in both:
        one, other = with_arithmetic(first[name]), with_arithmetic(second[name])
        if one.shape != other.shape:
            shapes.append((name, tuple(one.shape), tuple(other.shape)))
        elif not one.equal(other) and one.numel() > 0:
            most = float((one.double() - other.double()).abs().max())
            values.append((name, most, most / max(float(one.double().abs().max()), 1e-30)))
    return Difference(
        equal=len(both) - len(values) - len(shapes),
        only_first=tuple(name for name in first if name not in second),
        only_second=tuple(name for name in second if name not in first),
        shapes=tuple(shapes),
        values=tuple(sorted(values, key=lambda entry: -entry[2])),
    )
