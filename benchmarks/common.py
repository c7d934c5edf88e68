"""What every benchmark shares: fair timing side by side, the machine's facts, dated results."""

from __future__ import annotations

import datetime
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision


def timed(run: Callable[[], object]) -> float:
    """Seconds of one call, the GPU's work included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def interleaved(
    candidates: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of `repeats` calls of each candidate, taken in turns, so that a change of the machine's pace
    hits all.
    """
    for run in candidates.values():
        for _ in range(warmup):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            seconds[name].append(timed(run))
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each candidate's seconds."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> dict[str, str]:
    """Date, commit, processor, GPU, versions: what a result means nothing without."""
    facts = {
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "processor": ", ".join(
            (_processor(), f"{torch.get_num_threads()} threads", torch.backends.cpu.get_cpu_capability())
        ),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
        facts["cuda"] = str(torch.version.cuda)
    return facts


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def report(
    title: str, notes: Sequence[str], content: str, data: Mapping[str, Any], output: str | None
) -> None:
    """Prints a result and, where `output` names a path without suffix, writes it there as .md and .json."""
    facts = machine()
    text = "\n\n".join(
        [f"# {title}", "\n".join(f"- {key}: {value}" for key, value in facts.items()), *notes, content]
    )
    print(text)
    if output:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".md").write_text(text + "\n")
        path.with_suffix(".json").write_text(json.dumps({"machine": facts, **data}, indent=1) + "\n")


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
