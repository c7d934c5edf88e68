"""Builds the compiled operators (csrc/) as one library, maskrcnn_benchmark/_C.so.

The library speaks LibTorch's stable ABI and holds no Python symbol: one build serves every torch from
2.11 on and every Python. What is built depends on the machine:

* a C++ compiler and nvcc (of the CUDA version torch was built for): CPU and CUDA kernels, no GPU needed;
* a C++ compiler alone: CPU kernels;
* no compiler: nothing; the package installs and uses torchvision's operators.

It also names the dependencies, since the OpenCV build that is demanded is the one that is there already.

Environment: ``MASKRCNN_BENCHMARK_BUILD`` (auto, cpu, none; default auto), ``TORCH_CUDA_ARCH_LIST`` (default:
the GPUs at hand, or ``DEFAULT_CUDA_ARCHS`` without one), ``MAX_JOBS``, ``CXX``, ``CUDA_HOME``.
"""

import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from typing import Any

from setuptools import find_namespace_packages, find_packages, setup

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    from wheel.bdist_wheel import bdist_wheel

try:
    import torch
except ImportError:
    torch = None

# Each floor is the lowest version with which the tests pass: constraints-lowest.txt, `make test-lowest`.
DEPENDENCIES = [
    "torch>=2.11",
    "torchvision>=0.26",
    "numpy>=1.23.5",
    "yacs>=0.1.6",
    "pyyaml>=6.0",
    "pycocotools>=2.0.8",
    "hotcoco>=1.1.0",
    "safetensors>=0.4.0",
    "filelock>=3.12.0",
    "tensorboard>=2.12.0",
    "tqdm>=4.60.0",
]
OPENCV_FLOOR = "4.11"
# Every build of OpenCV brings the same module cv2: two in one environment overwrite each other's files.
OPENCV_BUILDS = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)

BUILD_KINDS = ("auto", "cpu", "none")
# Machine code for the two data-centre generations in use, PTX for what comes after them.
DEFAULT_CUDA_ARCHS = "8.0;9.0+PTX"
TORCH_TARGET = "-DTORCH_TARGET_VERSION=0x020b000000000000"  # 2.11, the oldest torch the library loads into
STANDARD = "-std=c++20"  # torch's own choice is older in 2.11
# The same arithmetic on every processor: no fused multiply-add, no reordering (see csrc/simd.h).
STRICT_NUMBERS = ["-ffp-contract=off", "-fno-fast-math"]


class PlatformWheel(bdist_wheel):
    """Tags the wheel py3-none-PLATFORM: the library depends on the platform, not on a Python version."""

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        return ("py3", "none", platform) if self.distribution.has_ext_modules() else (python, abi, platform)


def say(message: str) -> None:
    print(f"maskrcnn_benchmark: {message}", file=sys.stderr)


def output_of(*command: str) -> str:
    """What a command prints, standard output and errors together."""
    told = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return told.stdout


def opencv_requirement() -> str:
    """The OpenCV build that is installed here, else the headless one, which needs no display libraries."""
    installed = {distribution.name.lower().replace("_", "-") for distribution in metadata.distributions()}
    build = next((name for name in OPENCV_BUILDS if name in installed), OPENCV_BUILDS[0])
    return f"{build}>={OPENCV_FLOOR}"


def cxx_compiler() -> str | None:
    """Path of the C++ compiler that torch's build class would call, or None."""
    words = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    return shutil.which(words[0])


def cuda_home() -> str | None:
    """Folder of the CUDA toolkit: CUDA_HOME, or the one that the nvcc on the PATH belongs to, or None."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if not home and shutil.which("nvcc"):
        # The nvcc on the PATH may be a link or a script that calls the real one: let it say where it is.
        told = output_of("nvcc", "--dryrun", "-E", "-x", "cu", os.devnull)
        top = re.search(r"^#\$ TOP=(.+)$", told, re.MULTILINE)
        home = os.path.realpath(top.group(1)) if top else None
    home = home or "/usr/local/cuda"
    return home if os.path.exists(os.path.join(home, "bin", "nvcc")) else None


def nvcc_version(home: str) -> str | None:
    """Version of the toolkit's nvcc ("13.0"), or None."""
    found = re.search(r"release (\d+\.\d+)", output_of(os.path.join(home, "bin", "nvcc"), "--version"))
    return found.group(1) if found else None


def cuda_to_build(kind: str) -> str | None:
    """The CUDA version to compile kernels with, or None for a CPU build; says why not."""
    if kind == "cpu":
        return None
    home = cuda_home()
    version = nvcc_version(home) if home else None
    if home is None or version is None:
        say("no CUDA toolkit found (CUDA_HOME, nvcc): building the CPU kernels only")
        return None
    if torch.version.cuda is None:
        say("this torch is a CPU build: building the CPU kernels only")
        return None
    if version.split(".")[0] != torch.version.cuda.split(".")[0]:
        say(f"nvcc {version} does not fit torch's CUDA {torch.version.cuda}: building the CPU kernels only")
        return None
    os.environ["CUDA_HOME"] = home  # torch's build class reads it when it is imported
    return version


def choose_cuda_archs() -> str:
    """Sets TORCH_CUDA_ARCH_LIST, which torch's build class reads, and returns it comma-separated."""
    archs = os.environ.get("TORCH_CUDA_ARCH_LIST", "")
    if not archs and torch.cuda.is_available():
        capabilities = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
        archs = ";".join(f"{major}.{minor}" for major, minor in sorted(capabilities)) + "+PTX"
    archs = archs or DEFAULT_CUDA_ARCHS
    os.environ["TORCH_CUDA_ARCH_LIST"] = archs
    return re.sub(r"[;\s]+", ",", archs.strip())


def build_arguments() -> dict[str, Any]:
    """The ext_modules and cmdclass of this machine's build."""
    kind = os.environ.get("MASKRCNN_BENCHMARK_BUILD", "auto")
    if kind not in BUILD_KINDS:
        raise SystemExit(f"MASKRCNN_BENCHMARK_BUILD is {kind!r}; choose one of {', '.join(BUILD_KINDS)}")
    if kind == "none":
        return {}
    if torch is None:
        say(
            "torch is not importable here (pip install --no-build-isolation?): the operators are not compiled"
        )
        return {}
    if cxx_compiler() is None:
        say("no C++ compiler found: the operators are not compiled; torchvision's are used instead")
        return {}

    cuda = cuda_to_build(kind)
    from torch.utils import cpp_extension  # looks for CUDA_HOME when imported

    sources = ["csrc/ops.cpp", *sorted(glob.glob("csrc/cpu/*.cpp"))]
    cxx_flags = ["-O3", "-fvisibility=hidden", "-Wall", STANDARD, TORCH_TARGET, *STRICT_NUMBERS]
    nvcc_flags = ["-O3", "-Xcompiler=-fvisibility=hidden", "-DUSE_CUDA", STANDARD, TORCH_TARGET]
    make_extension = cpp_extension.CppExtension
    if cuda is not None:
        make_extension = cpp_extension.CUDAExtension
        sources += sorted(glob.glob("csrc/cuda/*.cu"))
        cxx_flags += [f"-DMASKRCNN_CUDA_VERSION={cuda}", f"-DMASKRCNN_CUDA_ARCHS={choose_cuda_archs()}"]
    extension = make_extension(
        "maskrcnn_benchmark._C",
        sources,
        include_dirs=[os.path.abspath("csrc")],
        depends=glob.glob("csrc/**/*.h", recursive=True) + glob.glob("csrc/**/*.cuh", recursive=True),
        extra_compile_args={"cxx": cxx_flags, "nvcc": nvcc_flags},
        extra_link_args=["-Wl,--as-needed", "-Wl,-s"],
        py_limited_api=True,  # keeps libtorch_python out of the link
    )
    build_ext = cpp_extension.BuildExtension.with_options(no_python_abi_suffix=True)
    return {"ext_modules": [extension], "cmdclass": {"build_ext": build_ext, "bdist_wheel": PlatformWheel}}


# The configs lie at their published paths here, and inside the package where it is installed.
config_folders = [f"maskrcnn_benchmark.{name}" for name in find_namespace_packages(include=["configs*"])]
setup(
    packages=[*find_packages(include=["maskrcnn_benchmark*"]), *config_folders],
    package_dir={"maskrcnn_benchmark.configs": "configs"},
    install_requires=[*DEPENDENCIES, opencv_requirement()],
    **build_arguments(),
)
