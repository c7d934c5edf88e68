"""Where the compiled operators can run.

``KERNEL_DEVICES`` holds the device types that they are built for. A front compares its tensors' device type
with it and otherwise takes its fallback (torchvision, pycocotools or plain torch), which gives the same
numbers. ``LOAD_ERROR`` is None, or says why the library is not loaded.
"""

import warnings

from maskrcnn_benchmark.utils.operators import load_operators


def kernel_devices(build_info: dict[str, str]) -> frozenset[str]:
    """Device types with compiled operators: none, the CPU, or the CPU and CUDA; meta for shapes."""
    if not build_info:
        return frozenset()
    return frozenset(("cpu", "meta", "cuda") if build_info["cuda"] else ("cpu", "meta"))


BUILD_INFO, LOAD_ERROR = load_operators()
KERNEL_DEVICES = kernel_devices(BUILD_INFO)

# A module is executed once in a process, so this is the only warning however many operators fall back.
if LOAD_ERROR is not None:
    warnings.warn(
        f"maskrcnn_benchmark's compiled operators are not available ({LOAD_ERROR}). Slower operators with "
        "the same numbers are used instead. To build them: pip install --no-build-isolation -e . in the "
        "project's folder; python -m maskrcnn_benchmark.utils.collect_env shows what is missing.",
        stacklevel=2,
    )
