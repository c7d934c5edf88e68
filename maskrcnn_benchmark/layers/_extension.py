"""Loads the compiled operators (csrc/, built to ``maskrcnn_benchmark/_C.so`` by setup.py).

``KERNEL_DEVICES`` says on which devices they can run. A front compares its tensors' device type with it and
otherwise takes its fallback (torchvision, pycocotools or plain torch), which gives the same numbers.
"""

import json
import warnings
from pathlib import Path

import torch

LIBRARY = Path(__file__).resolve().parent.parent / "_C.so"


def load_library(path: Path) -> str | None:
    """Loads the operators into ``torch.ops.maskrcnn_benchmark``; the reason why not, or None if it worked."""
    if not path.exists():
        return f"{path} does not exist"
    try:
        torch.ops.load_library(path)
    except (OSError, RuntimeError) as error:
        return f"{path} does not load into torch {torch.__version__}: {error}"
    return None


def read_build_info(loaded: bool) -> dict[str, str]:
    """What the library was built from: compiler, torch_headers, cuda, cuda_archs ("8.0,9.0+PTX"); else {}."""
    return dict(json.loads(torch.ops.maskrcnn_benchmark.build_info())) if loaded else {}


LOAD_ERROR = load_library(LIBRARY)
BUILD_INFO = read_build_info(LOAD_ERROR is None)
KERNEL_DEVICES: frozenset[str] = frozenset(
    () if LOAD_ERROR else ("cpu", "cuda", "meta") if BUILD_INFO["cuda"] else ("cpu", "meta")
)

# A module is executed once in a process, so this is the only warning however many operators fall back.
if LOAD_ERROR is not None:
    warnings.warn(
        f"maskrcnn_benchmark's compiled operators are not available ({LOAD_ERROR}). Slower operators with "
        "the same numbers are used instead. To build them: pip install --no-build-isolation -e . in the "
        "project's folder; python -m maskrcnn_benchmark.utils.collect_env shows what is missing.",
        stacklevel=2,
    )
