"""MODEL.WEIGHT by a name of the user's own catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.weights.sources.user_catalogue import build_weights_name

OWN = """
class ModelCatalog:
    @staticmethod
    def get(name):
        return {"mine": "/weights/mine.pth"}[name]
"""


@pytest.fixture
def own_file(tmp_path: Path) -> str:
    path = tmp_path / "own_weights.py"
    path.write_text(OWN)
    return str(path)


def weights_name(weight: str, catalog: str) -> str:
    return build_weights_name(load_config(None, ["MODEL.WEIGHT", weight, "PATHS_CATALOG", catalog]))


def test_names_of_the_users_own_catalogue(own_file: str) -> None:
    assert weights_name("catalog://mine", own_file) == "/weights/mine.pth"
    with pytest.raises(ValueError, match=r"catalog://yours.*ModelCatalog\.get\('yours'\) of PATHS_CATALOG"):
        weights_name("catalog://yours", own_file)


@pytest.mark.parametrize("text", ["", "from maskrcnn_benchmark.config.paths_catalog import ModelCatalog\n"])
def test_without_one_of_their_own_the_name_stays(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.py").write_text(text)
    assert weights_name("catalog://mine", str(tmp_path / "other.py")) == "catalog://mine"


def test_paths_stay(own_file: str) -> None:
    assert weights_name("mine.pth", own_file) == "mine.pth"
    assert weights_name("", own_file) == ""
