"""From the device a user asks for to the one this process computes on, and what memory it took."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

MIB = 1024 * 1024


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of this process; a GPU becomes the current one.

    Args:
        name: MODEL.DEVICE: auto (a GPU when there is one), cpu, cuda (GPU number `local_rank`) or cuda:N.
        local_rank: number of this process on its machine.

    Raises:
        ValueError: a GPU that this machine, or this build of torch, does not have.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        why = (
            "this torch is built without CUDA" if torch.version.cuda is None else "torch finds no usable GPU"
        )
        raise ValueError(
            f"MODEL.DEVICE = {name!r} asks for a GPU, but {why} (torch {torch.__version__}); "
            "use MODEL.DEVICE cpu or auto, or see python -m maskrcnn_benchmark.utils.collect_env"
        )
    index = int(name.partition(":")[2]) if ":" in name else local_rank
    if index >= torch.cuda.device_count():
        raise ValueError(
            f"MODEL.DEVICE = {name!r} in process {local_rank} of this machine asks for GPU {index}, but "
            f"there are {torch.cuda.device_count()}; start at most one process a GPU (--nproc_per_node)"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def cpu_computes(dtype: torch.dtype) -> bool:
    """Whether the CPU has instructions for a half-precision type; taken for true where torch cannot tell."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    kind = "bf16" if dtype == torch.bfloat16 else "fp16"
    known = [capabilities[key] for key in (f"avx512_{kind}", f"amx_{kind}", kind) if key in capabilities]
    return any(known) or not known


def memory_in_use(device: torch.device) -> dict[str, float]:
    """Peak memory in MiB, by name: of the GPU since the last reset, or of this process as a whole on a CPU.

    `memory_allocated` and `memory_reserved` are torch's for the device; `peak_rss` is the largest resident
    set that the operating system saw, libraries and data included.
    """
    if device.type == "cuda":
        return {
            "memory_allocated": torch.cuda.max_memory_allocated(device) / MIB,
            "memory_reserved": torch.cuda.max_memory_reserved(device) / MIB,
        }
    return {"peak_rss": peak_rss()}


def reset_peak_memory(device: torch.device) -> None:
    """Starts a new measurement on a GPU; the peak of a process cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_rss() -> float:
    """The largest resident set of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024
