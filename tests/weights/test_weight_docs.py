"""What docs/weights.md tells a newcomer to type exists, and loads what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from weights.small_detector import ROOT, empty_detector

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.load import Purpose
from maskrcnn_benchmark.weights.sources.catalogue import entries

TEXT = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
NAMES = {entry.name: entry for entry in entries()}


def test_names_and_configs_exist() -> None:
    names = [name for name in re.findall(r"catalog://([\w./-]+)", TEXT) if not name.endswith(("...", "/"))]
    assert len(names) > 4
    assert [name for name in names if name not in NAMES] == []
    configs = re.findall(r"configs/[\w/]+\.yaml", TEXT)
    assert len(configs) >= 3
    assert [config for config in configs if not (ROOT / config).is_file()] == []


def test_the_first_lines_say_how_to_start() -> None:
    """Ten lines, of links that are not known to be dead, for the bodies that the configs build."""
    start = "\n".join(TEXT.splitlines()[:11])
    (name,) = re.findall(r"catalog://([\w./-]+)", start)
    assert (NAMES[name].body, NAMES[name].link) == ("V-39", "alive")
    configs = re.findall(r"configs/[\w/]+\.yaml", start)
    weights = {config: load_config(str(ROOT / config)).MODEL.WEIGHT for config in configs}
    assert len(weights) == 3
    for config, weight in weights.items():
        if "configs/vovnet/" not in config:
            assert NAMES[weight.removeprefix("catalog://")].link == "alive", config


def test_the_first_command_starts_from_those_weights(tmp_path: Path) -> None:
    """pytorchcv's own model, saved as its file is, fills the body of the config that the command names."""
    provider = pytest.importorskip("pytorchcv.model_provider")
    torch.save(provider.get_model("vovnet39").state_dict(), tmp_path / "vovnet39-0564-63bfa613.pth")
    config = "vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml"
    cfg = load_config(str(ROOT / "configs" / config))
    report = DetectronCheckpointer(cfg, empty_detector(config)).load(
        tmp_path / "vovnet39-0564-63bfa613.pth", Purpose.TRAINING
    )
    assert "pytorchcv" in report.source
    assert report.unused == []
    assert not any(name.startswith("backbone.body.") for name in report.kept)
