"""What the package says of itself: dependencies, floors, version, licence."""

from __future__ import annotations

import re
import runpy
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import maskrcnn_benchmark

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="tests an unpacked source only")


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """setup.py's names, with setup() itself out of the way."""
    monkeypatch.setattr("setuptools.setup", lambda **arguments: None)
    monkeypatch.setenv("MASKRCNN_BENCHMARK_BUILD", "none")
    return runpy.run_path(str(ROOT / "setup.py"), run_name="setup_under_test")


def test_every_floor_is_what_the_lowest_run_installs(setup: dict[str, Any]) -> None:
    floors = dict(item.split(">=") for item in setup["DEPENDENCIES"]) | {
        setup["OPENCV_BUILDS"][0]: setup["OPENCV_FLOOR"]
    }
    del floors["torch"], floors["torchvision"]  # constraints.txt pins them
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    lowest = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert set(lowest) == set(floors)
    for name, version in lowest.items():
        assert re.fullmatch(rf"{re.escape(floors[name])}(\.\d+)*", version), name


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ([], "opencv-python-headless"),
        (["numpy", "opencv-python"], "opencv-python"),
        (["opencv_contrib_python", "numpy"], "opencv-contrib-python"),
        (["opencv-python", "opencv-python-headless"], "opencv-python-headless"),
    ],
)
def test_the_opencv_build_that_is_there_is_demanded(
    setup: dict[str, Any], monkeypatch: pytest.MonkeyPatch, installed: list[str], expected: str
) -> None:
    monkeypatch.setattr(metadata, "distributions", lambda: [SimpleNamespace(name=name) for name in installed])
    assert setup["opencv_requirement"]() == f"{expected}>={setup['OPENCV_FLOOR']}"


def test_licence_version_and_citation_fit_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    holder = "the maskrcnn_benchmark contributors"
    assert project["license"] == citation["license"] == "MIT"
    assert f"Copyright (c) 2026 {holder}\n" in (ROOT / "LICENSE").read_text()
    assert [author["name"] for author in citation["authors"]] == [holder]
    assert str(citation["version"]) == maskrcnn_benchmark.__version__
    assert citation["title"] == "maskrcnn_benchmark" and "urls" not in project
