"""The package without its compiled library: one warning, the same numbers. What setup.py decides to build."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import maskrcnn_benchmark
from maskrcnn_benchmark.layers import batched_nms, nms

PACKAGE = Path(maskrcnn_benchmark.__file__).parent
SETUP = PACKAGE.parent / "setup.py"

WITHOUT_LIBRARY = """
import json, sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torch
    import maskrcnn_benchmark
    from maskrcnn_benchmark import layers
    from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES
    data = torch.load(sys.argv[1])
    kept = layers.nms(data["boxes"][0], data["scores"][0], 0.5)
    index, keep = layers.batched_nms(**data, threshold=0.5, max_output=20)
messages = [str(w.message) for w in caught if "maskrcnn_benchmark" in str(w.message)]
torch.save({"kept": kept, "index": index, "keep": keep}, sys.argv[2])
print(json.dumps([maskrcnn_benchmark.__file__, messages, sorted(KERNEL_DEVICES)]))
"""


def test_without_library_one_warning_and_the_same_numbers(tmp_path):
    copy = tmp_path / "maskrcnn_benchmark"
    copy.mkdir()
    for entry in PACKAGE.iterdir():
        if entry.name not in ("_C.so", "utils", "layers", "__pycache__"):
            (copy / entry.name).symlink_to(entry)
    for folder in ("utils", "layers"):  # real folders: the library is looked for beside them
        (copy / folder).mkdir()
        for source in (PACKAGE / folder).glob("*.py"):
            (copy / folder / source.name).write_text(source.read_text())

    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 90, 2, generator=generator) * 60
    data = {
        "boxes": torch.cat([corner, corner + 30], dim=2),
        "scores": torch.rand(2, 90, generator=generator),
        "groups": torch.randint(3, (2, 90), generator=generator),
        "valid": torch.rand(2, 90, generator=generator) < 0.9,
    }
    torch.save(data, tmp_path / "in.pt")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", WITHOUT_LIBRARY, str(tmp_path / "in.pt"), str(tmp_path / "out.pt")]
    told = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    where, messages, devices = json.loads(told.stdout)
    assert where.startswith(str(tmp_path))
    assert devices == []
    assert len(messages) == 1
    assert "does not exist" in messages[0] and "pip install --no-build-isolation" in messages[0]

    result = torch.load(tmp_path / "out.pt")
    index, keep = batched_nms(**data, threshold=0.5, max_output=20)
    assert torch.equal(result["kept"], nms(data["boxes"][0], data["scores"][0], 0.5))
    assert torch.equal(result["index"], index) and torch.equal(result["keep"], keep)


@pytest.fixture
def build(monkeypatch):
    """setup.py's functions, with setup() itself out of the way."""
    if not SETUP.exists():
        pytest.skip("an installed package has no setup.py beside it")
    monkeypatch.setattr("setuptools.setup", lambda **arguments: None)
    monkeypatch.chdir(SETUP.parent)
    for name in ("MASKRCNN_BENCHMARK_BUILD", "TORCH_CUDA_ARCH_LIST", "CUDA_HOME", "CUDA_PATH", "CXX"):
        monkeypatch.delenv(name, raising=False)
    return runpy.run_path(str(SETUP), run_name="setup_under_test")


def test_nothing_is_built_without_a_compiler(build, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert build["build_arguments"]() == {}
    assert "no C++ compiler found" in capsys.readouterr().err


def test_nothing_is_built_on_demand(build, monkeypatch):
    monkeypatch.setenv("MASKRCNN_BENCHMARK_BUILD", "none")
    assert build["build_arguments"]() == {}


def test_a_build_of_an_unknown_kind_is_refused(build, monkeypatch):
    monkeypatch.setenv("MASKRCNN_BENCHMARK_BUILD", "gpu")
    with pytest.raises(SystemExit, match="'gpu'; choose one of auto, cpu, none"):
        build["build_arguments"]()


def test_a_cpu_build_compiles_no_cuda(build, monkeypatch):
    monkeypatch.setenv("MASKRCNN_BENCHMARK_BUILD", "cpu")
    monkeypatch.setenv("CXX", sys.executable)  # any program stands for a compiler here
    (extension,) = build["build_arguments"]()["ext_modules"]
    assert "csrc/ops.cpp" in extension.sources and "csrc/cpu/nms.cpp" in extension.sources
    assert not any(source.endswith(".cu") for source in extension.sources)
    assert "torch_python" not in extension.libraries


@pytest.mark.parametrize("archs, told", [("7.5;8.6+PTX", "7.5,8.6+PTX"), ("8.0 9.0", "8.0,9.0")])
def test_architectures_follow_the_environment(build, monkeypatch, archs, told):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", archs)
    assert build["choose_cuda_archs"]() == told
