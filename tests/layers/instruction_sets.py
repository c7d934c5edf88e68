"""Scripts run with one of the sets of instructions that the CPU's convolutions are compiled for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskrcnn_benchmark.layers.cpu_inference.packed_weight import COLUMNS

# ATEN_CPU_CAPABILITY, and the columns of a panel that tell which loops run
INSTRUCTION_SETS = [("avx2", 16), ("avx512", 32)]


def run_with_instructions(capability: str, columns: int, script: str) -> None:
    """Fails where the script fails in a process of its own; its first argument is `columns`."""
    if columns > COLUMNS:
        pytest.skip("this processor does not have these instructions")
    done = subprocess.run(
        [sys.executable, "-c", script, str(columns)],
        env={**os.environ, "ATEN_CPU_CAPABILITY": capability},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
