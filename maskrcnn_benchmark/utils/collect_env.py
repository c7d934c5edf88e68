"""What is installed, what the operators were built for, and whether it fits the machine.

``python -m maskrcnn_benchmark.utils.collect_env`` prints it; put it into a bug report.
"""

import importlib.metadata
import os
import platform
import re
import warnings

import torch

from maskrcnn_benchmark.utils.operators import LIBRARY, load_operators

PACKAGES = (
    "maskrcnn-benchmark",
    "torch",
    "torchvision",
    "numpy",
    "yacs",
    "pycocotools",
    "hotcoco",
    "tensorboard",
    "tqdm",
)
# Each brings the module cv2.
OPENCV_BUILDS = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
NOT_INSTALLED = "not installed"


def installed_version(package: str) -> str:
    """The version of an installed package, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return NOT_INSTALLED


def opencv_row() -> tuple[str, str]:
    """("OpenCV", which build is installed); says what to do about several, which break each other."""
    versions = {build: installed_version(build) for build in OPENCV_BUILDS}
    found = [build for build, version in versions.items() if version != NOT_INSTALLED]
    listed = ", ".join(f"{build} {versions[build]}" for build in found) or NOT_INSTALLED
    if len(found) > 1:
        listed += (
            f"; these overwrite each other's files: pip uninstall {' '.join(found)}, then install one again"
        )
    return "OpenCV", listed


def gpu_archs() -> list[tuple[int, int]]:
    """Compute capability of every GPU that torch can use, (9, 0) for 9.0."""
    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())]


def runs_on(capability: tuple[int, int], cuda_archs: str) -> bool:
    """Whether kernels built for "8.0,9.0+PTX" run on a GPU.

    Machine code runs on GPUs of the same major and the same or a higher minor version, PTX on everything from
    its version on.
    """
    for arch in filter(None, cuda_archs.split(",")):
        found = re.fullmatch(r"(\d+)\.(\d+)([af]?)(\+PTX)?", arch)
        if found is None:
            continue
        built = (int(found.group(1)), int(found.group(2)))
        if found.group(3):  # 9.0a: this very GPU only
            if capability == built:
                return True
        elif (capability[0] == built[0] and capability >= built) or (found.group(4) and capability >= built):
            return True
    return False


def verdict(build_info: dict[str, str], load_error: str | None, capabilities: list[tuple[int, int]]) -> str:
    """One line: whether operators, torch and GPUs fit together, and how to mend it where they do not."""
    rebuild = "pip install --no-build-isolation -e . in the project's folder"
    if load_error is not None:
        return (
            f"NOT BUILT: slower operators with the same numbers are used ({load_error}). To build: {rebuild}"
        )
    if not capabilities:
        if build_info["cuda"]:
            return (
                f"OK: CPU kernels; CUDA kernels for {build_info['cuda_archs']}, but torch finds no GPU here"
            )
        return "OK: CPU kernels; torch finds no GPU here"
    if not build_info["cuda"]:
        return (
            "MISMATCH: there is a GPU, and the operators have no CUDA kernels; on it, slower operators with "
            f"the same numbers are used. To build them: CUDA toolkit {torch.version.cuda}, then {rebuild}"
        )
    missing = sorted({c for c in capabilities if not runs_on(c, build_info["cuda_archs"])})
    if missing:
        archs = ";".join(f"{major}.{minor}" for major, minor in missing)
        return (
            f"MISMATCH: CUDA kernels are built for {build_info['cuda_archs']}, not for {archs} as here. "
            f"To mend: TORCH_CUDA_ARCH_LIST='{archs}' {rebuild}"
        )
    return f"OK: CPU kernels, and CUDA kernels for {build_info['cuda_archs']} that fit this machine's GPUs"


def collect_env() -> list[tuple[str, str]]:
    """(name, value) of everything worth knowing, the verdict last."""
    build_info, load_error = load_operators()
    capabilities = gpu_archs()
    rows = [("system", platform.platform()), ("python", platform.python_version())]
    rows += [(package, installed_version(package)) for package in PACKAGES]
    rows.append(opencv_row())
    rows += [
        ("processor", f"{torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"),
        ("torch threads", str(torch.get_num_threads())),
        ("torch built for", f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"),
    ]
    rows += [
        (f"GPU {index}", f"{torch.cuda.get_device_name(index)}, compute capability {major}.{minor}")
        for index, (major, minor) in enumerate(capabilities)
    ] or [("GPU", "none that torch can use")]
    if build_info:
        rows += [
            ("operators", str(LIBRARY)),
            ("built by", f"{build_info['compiler']}, headers of torch {build_info['torch_headers']}"),
            ("CPU kernels", "built"),
            (
                "CUDA kernels",
                f"built by CUDA {build_info['cuda']} for {build_info['cuda_archs']}"
                if build_info["cuda"]
                else "not built",
            ),
        ]
    return [*rows, ("verdict", verdict(build_info, load_error, capabilities))]


def main() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch on a machine without a driver; the verdict says what matters
        rows = collect_env()
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


if __name__ == "__main__":
    main()
