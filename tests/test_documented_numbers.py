"""The numbers of docs/performance.md beside peers are those recorded in benchmarks/results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def recorded(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def seconds_of(name: str, case: str) -> tuple[float, float]:
    """Ours and torchvision's."""
    median = recorded(name)["cases"][case]["median_s"]
    return median["ours"], median["torchvision"]


def detector(dtype: str) -> list[tuple[float, float]]:
    """Torchvision's is in float32."""
    seconds = recorded("detector_cpu")["seconds"]
    return [(seconds[f"ours core {dtype}"], seconds["torchvision core float32"])]


def evaluation() -> list[tuple[float, float]]:
    return [(float(row[4]), float(row[3])) for row in recorded("coco_eval_cpu")["rows"]]


PAIRS = {
    "Mask R-CNN R-50-FPN, one 800 x 1216 image, float32": lambda: detector("float32"),
    "the same, `DTYPE bfloat16`, which is 16-bit integers there": lambda: detector("bfloat16"),
    "NMS, 8000 clustered boxes, threshold 0.5 / 0.7": lambda: [
        seconds_of("nms_cpu", f"8000 clustered, threshold {threshold}") for threshold in (0.5, 0.7)
    ],
    "RoIAlign, 1000 boxes 7x7x256, four levels, channels_last, forward": lambda: [
        seconds_of("roi_align_cpu", "1000 x 7x7, channels_last, forward")
    ],
    "the same, contiguous, forward / forward and backward": lambda: [
        seconds_of("roi_align_cpu", f"1000 x 7x7, contiguous, {direction}")
        for direction in ("forward", "forward + backward")
    ],
    "COCO evaluation of 50,000 boxes / masks": evaluation,
}


def numbers(cell: str, unit: bool = True) -> list[float]:
    """ "torchvision 13.6 / 73.2 ms" as seconds."""
    words = [word for word in cell.split() if word[0].isdigit()]
    scale = 1e-3 if unit and cell.rstrip().endswith(" ms") else 1.0
    return [float(word) * scale for word in words]


@pytest.mark.parametrize("what", PAIRS)
def test_they_are_those_recorded(what: str) -> None:
    lines = (ROOT / "docs" / "performance.md").read_text().splitlines()
    (line,) = [each for each in lines if each.startswith(f"| {what} |")]
    _, _, ours, theirs, ratios, _ = line.split("|")
    pairs = PAIRS[what]()
    # as far as the page rounds
    assert numbers(ours) == pytest.approx([own for own, _ in pairs], rel=0.05)
    assert numbers(theirs) == pytest.approx([other for _, other in pairs], rel=0.05)
    assert numbers(ratios, unit=False) == pytest.approx([other / own for own, other in pairs], rel=0.05)
