"""Loads the compiled operators (csrc/, which setup.py builds to ``maskrcnn_benchmark/_C.so``)."""

import json
from pathlib import Path

import torch

LIBRARY = Path(__file__).resolve().parent.parent / "_C.so"


def load_operators(library: Path = LIBRARY) -> tuple[dict[str, str], str | None]:
    """Registers the operators in ``torch.ops.maskrcnn_benchmark``; loading them again changes nothing.

    Returns:
        What they were built from and for, as compiler, torch_headers, cuda ("13.0") and cuda_archs
        ("8.0,9.0+PTX", both empty without CUDA kernels), and None. Or, if they cannot be loaded, an
        empty dict and the reason.
    """
    if not library.exists():
        return {}, f"{library} does not exist"
    try:
        torch.ops.load_library(library)
        return dict(json.loads(torch.ops.maskrcnn_benchmark.build_info())), None
    except (OSError, RuntimeError) as error:
        return {}, f"{library} does not load into torch {torch.__version__}: {error}"
