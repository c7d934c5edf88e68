"""Every config that ships loads, names what exists, and builds a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden.reference import CONFIGS, PUBLISHED

from maskrcnn_benchmark.config import ConfigNode, load_config
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.modeling.detector import build_detection_model

FILES = sorted(CONFIGS.rglob("*.yaml"))


@pytest.fixture(scope="module", params=FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def path_and_cfg(request: pytest.FixtureRequest) -> tuple[Path, ConfigNode]:
    return request.param, load_config(str(request.param))


def test_published_configs_are_at_their_paths() -> None:
    """Published values are compared with the reference's in golden/test_config_replay.py."""
    missing = [name for name in PUBLISHED if CONFIGS / f"{name}.yaml" not in FILES]
    assert not missing


def test_loads(path_and_cfg: tuple[Path, ConfigNode]) -> None:
    path, cfg = path_and_cfg
    assert cfg.is_frozen()
    assert path.read_text(encoding="utf-8").startswith("# "), f"{path} does not say what it is for"


def test_data_sets_are_catalogued(path_and_cfg: tuple[Path, ConfigNode]) -> None:
    _, cfg = path_and_cfg
    assert cfg.DATASETS.TRAIN
    assert cfg.DATASETS.TEST
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        DatasetCatalog.get(name)


def test_builds(path_and_cfg: tuple[Path, ConfigNode]) -> None:
    """Every name in it is registered, and the parts fit together."""
    _, cfg = path_and_cfg
    with torch.device("meta"):
        model = build_detection_model(cfg)
    assert ("mask" in model.roi_heads) == cfg.MODEL.MASK_ON
    assert model.roi_heads.box.predictor.cls_score.out_features == cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES


def test_schedule_ends_after_its_steps(path_and_cfg: tuple[Path, ConfigNode]) -> None:
    _, cfg = path_and_cfg
    assert all(cfg.SOLVER.WARMUP_ITERS <= step < cfg.SOLVER.MAX_ITER for step in cfg.SOLVER.STEPS)
