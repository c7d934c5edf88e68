"""The verdict on operators, torch and GPUs."""

import re

import pytest

from maskrcnn_benchmark.utils import collect_env as module
from maskrcnn_benchmark.utils import operators
from maskrcnn_benchmark.utils.collect_env import collect_env, opencv_row, runs_on, verdict
from maskrcnn_benchmark.utils.operators import load_operators

CPU_BUILD = {"compiler": "gcc", "torch_headers": "2.14.1", "cuda": "", "cuda_archs": ""}
CUDA_BUILD = CPU_BUILD | {"cuda": "13.0", "cuda_archs": "8.0,9.0+PTX"}


@pytest.mark.parametrize(
    "capability, archs, expected",
    [
        ((8, 0), "8.0,9.0", True),
        ((8, 6), "8.0", True),  # machine code serves higher minor versions of its major version
        ((8, 0), "8.6", False),
        ((7, 5), "8.0,9.0+PTX", False),
        ((12, 0), "9.0+PTX", True),  # PTX serves everything after it
        ((12, 0), "9.0", False),
        ((9, 0), "9.0a", True),
        ((10, 0), "9.0a", False),
        ((9, 0), "", False),
    ],
)
def test_runs_on(capability, archs, expected):
    assert runs_on(capability, archs) is expected


@pytest.mark.parametrize(
    "build_info, load_error, capabilities, start, mentions",
    [
        ({}, "no such file", [], "NOT BUILT", "pip install --no-build-isolation -e ."),
        ({}, "no such file", [(9, 0)], "NOT BUILT", "no such file"),
        (CPU_BUILD, None, [], "OK", "CPU kernels"),
        (CPU_BUILD, None, [(9, 0)], "MISMATCH", "no CUDA kernels"),
        (CUDA_BUILD, None, [], "OK", "no GPU here"),
        (CUDA_BUILD, None, [(9, 0), (12, 0)], "OK", "fit this machine's GPUs"),
        (CUDA_BUILD, None, [(9, 0), (7, 5)], "MISMATCH", "TORCH_CUDA_ARCH_LIST='7.5'"),
    ],
)
def test_verdict(build_info, load_error, capabilities, start, mentions):
    line = verdict(build_info, load_error, capabilities)
    assert line.startswith(start + ":")
    assert mentions in line
    assert "\n" not in line


def test_collect_env_names_versions_and_ends_with_the_verdict():
    rows = dict(collect_env())
    assert rows["torch"].split(".")[0].isdigit()
    assert list(rows)[-1] == "verdict"


@pytest.mark.parametrize(
    "installed, told",
    [
        ({}, "not installed"),
        ({"opencv-python": "4.12.0"}, "opencv-python 4.12.0"),
        (
            {"opencv-python": "4.12.0", "opencv-python-headless": "5.0.0"},
            "opencv-python-headless 5.0.0, opencv-python 4.12.0; these overwrite each other's files: "
            "pip uninstall opencv-python-headless opencv-python, then install one again",
        ),
    ],
)
def test_several_builds_of_opencv_are_told(monkeypatch, installed, told):
    monkeypatch.setattr(module, "installed_version", lambda name: installed.get(name, "not installed"))
    assert opencv_row() == ("OpenCV", told)


def test_a_broken_library_is_reported(tmp_path):
    broken = tmp_path / "_C.so"
    broken.write_bytes(b"not a library")
    build_info, error = load_operators(broken)
    assert build_info == {}
    assert str(broken) in error and "does not load into torch" in error


def test_a_library_of_older_sources_is_named_and_not_used(monkeypatch):
    monkeypatch.setattr(operators, "OPERATORS", (*operators.OPERATORS, "operator_of_tomorrow"))
    build_info, error = load_operators()
    if not operators.LIBRARY.exists():
        pytest.skip("nothing was compiled")
    assert build_info == {}
    assert error == f"{operators.LIBRARY} was built from older sources, without operator_of_tomorrow"


def test_every_operator_of_the_library_is_expected():
    declared = re.findall(r'm\.def\(\s*"(\w+)\(', (operators.LIBRARY.parents[1] / "csrc/ops.cpp").read_text())
    assert sorted(declared) == sorted((*operators.OPERATORS, "build_info"))
