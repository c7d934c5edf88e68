"""The programs of this folder, compiled once in a session, and a call of one as a fixture."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.utils.cpp_extension import include_paths

FOLDER = Path(__file__).parent
CSRC = FOLDER.parents[1] / "csrc"
PROGRAMS = ("nms", "match_boxes", "roi_align", "rasterize_polygons")
# Unoptimised: here compiling takes longer than running.
FLAGS = ["-std=c++20", "-O0", "-g1", "-ffp-contract=off"]
# Accesses out of bounds, vectors at addresses that are not multiples of their size, integers that overflow.
SANITIZERS = [
    "-fsanitize=address,alignment,shift,signed-integer-overflow,float-cast-overflow",
    "-fno-sanitize-recover=all",
]
# Under newer kernels' random addresses, older sanitizers stop at random.
SANITIZED_START = ["setarch", "--addr-no-randomize", "env", "ASAN_OPTIONS=detect_leaks=0"]

Read = Callable[[str, torch.dtype], torch.Tensor]
Run = Callable[..., Read]


def compile_program(compiler: list[str], source: Path, program: Path) -> None:
    includes = [f"-I{path}" for path in (FOLDER, CSRC, *include_paths())]
    subprocess.run([*compiler, *FLAGS, *includes, str(source), "-o", str(program)], check=True)


def can_sanitize(compiler: list[str], folder: Path) -> bool:
    """Whether a program with the sanitizers can be built and started here."""
    source, program = folder / "probe.cpp", folder / "probe"
    source.write_text("int main() {}")
    try:
        for command in (
            [*compiler, *SANITIZERS, str(source), "-o", str(program)],
            [*SANITIZED_START, str(program)],
        ):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The command that starts each program."""
    compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    if not CSRC.exists() or shutil.which(compiler[0]) is None:
        pytest.skip("needs csrc and a C++ compiler")
    folder = tmp_path_factory.mktemp("cuda_on_host")
    start: list[str] = []
    if can_sanitize(compiler, folder):
        compiler, start = [*compiler, *SANITIZERS], SANITIZED_START
    with ThreadPoolExecutor() as pool:
        list(
            pool.map(lambda name: compile_program(compiler, FOLDER / f"{name}.cpp", folder / name), PROGRAMS)
        )
    return {name: [*start, str(folder / name)] for name in PROGRAMS}


@pytest.fixture(params=["ascending", "descending"])
def run(request: pytest.FixtureRequest, programs: dict[str, list[str]], tmp_path: Path) -> Run:
    """run(program, tensors, numbers) -> read(name, dtype), which gives what the program wrote, flat.

    Each tensor goes to a file, its elements in order. The threads of a block take turns in either order.
    """

    def read(name: str, dtype: torch.dtype) -> torch.Tensor:
        content = bytearray((tmp_path / name).read_bytes())
        return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)

    def run(program: str, tensors: dict[str, torch.Tensor], numbers: list[int]) -> Read:
        for name, tensor in tensors.items():
            (tmp_path / name).write_bytes(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        command = [*programs[program], str(tmp_path), request.param, *(str(int(n)) for n in numbers)]
        told = subprocess.run(command, check=False, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        return read

    return run
