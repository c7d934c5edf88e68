"""Where a run took place: machine, versions, commit, and the state of clocks and power as far as it shows."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from pathlib import Path

import torch
import torchvision

from maskrcnn_benchmark.benchmark.results import Environment
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.operators import load_operators

ROOT = Path(__file__).resolve().parents[3]
GPU_STATE = {
    "power limit": "power.limit",
    "power draw": "power.draw",
    "clock": "clocks.sm",
    "highest clock": "clocks.max.sm",
    "memory clock": "clocks.mem",
    "temperature": "temperature.gpu",
    "performance state": "pstate",
}
CPU_STATE = {
    "governor": "scaling_governor",
    "clock (kHz)": "scaling_cur_freq",
    "highest clock (kHz)": "scaling_max_freq",
}
CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def describe_environment(device: torch.device, num_threads: int | None = None) -> Environment:
    """Machine, versions and commit, without which a number means nothing.

    Args:
        num_threads: of the measuring processes; torch's here where it is None.
    """
    build, error = load_operators()
    is_gpu = device.type == "cuda"
    return Environment(
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        commit=commit(),
        device_type="cuda" if is_gpu else "cpu",
        device=torch.cuda.get_device_name(device) if is_gpu else processor(),
        processor=processor(),
        num_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        num_threads=num_threads or torch.get_num_threads(),
        num_processes=comm.get_world_size(),
        memory_mib=(torch.cuda.get_device_properties(device).total_memory if is_gpu else host_memory())
        / 2**20,
        system=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        cuda=torch.version.cuda,
        cudnn=str(torch.backends.cudnn.version()) if is_gpu else None,
        driver=nvidia_smi("driver_version", device) if is_gpu else None,
        operators=f"compiled by {build['compiler']}" if error is None else f"not compiled: {error}",
        state=machine_state(device),
    )


def commit() -> str:
    """The checkout's commit, with "+changes" where tracked files differ from it; "unknown" without git."""
    head = _output_of(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"])
    if head is None:
        return "unknown"
    changes = _output_of(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"])
    return f"{head}+changes" if changes else head


def processor() -> str:
    """The processor's name with its vector instructions."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = names[0].split(":", 1)[1].strip() if names else name
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def host_memory() -> int:
    """Bytes of the machine's memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def machine_state(device: torch.device) -> dict[str, str]:
    """Clocks, power and load by name; what cannot be read is left out."""
    state: dict[str, str] = {}
    if device.type == "cuda":
        for name, field in GPU_STATE.items():
            value = nvidia_smi(field, device)
            if value is not None:
                state[f"GPU {name}"] = value
        state["TF32 in float32"] = tf32()
    for name, file in CPU_STATE.items():
        if (CPUFREQ / file).is_file():
            state[f"CPU {name}"] = (CPUFREQ / file).read_text().strip()
    if hasattr(os, "getloadavg"):
        state["load average at the start"] = f"{os.getloadavg()[0]:.1f}"
    return state


def tf32() -> str:
    """Which operations of float32 a GPU may round to TF32: torch's defaults differ from kind to kind."""
    kinds = {
        "convolutions": torch.backends.cudnn.allow_tf32,
        "matrix products": torch.backends.cuda.matmul.allow_tf32,
    }
    return ", ".join(f"{kind} {'yes' if allowed else 'no'}" for kind, allowed in kinds.items())


def nvidia_smi(field: str, device: torch.device) -> str | None:
    """A field of `nvidia-smi --query-gpu` of the device; None where it cannot be read."""
    if shutil.which("nvidia-smi") is None:
        return None
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    value = _output_of(["nvidia-smi", f"--id={uuid}", f"--query-gpu={field}", "--format=csv,noheader"])
    return None if value is None or "N/A" in value or "Not Supported" in value else value


def _output_of(command: list[str]) -> str | None:
    """What a command prints to stdout; None where it fails."""
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
