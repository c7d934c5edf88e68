"""Reads the reference data and lists what of it is replayed; a new file joins by one line here."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.config import ConfigNode, load_config
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN

Build = Callable[..., GeneralizedRCNN]  # of the fixture build_filled

DATA = Path(__file__).parent / "data"
CONFIGS = Path(__file__).parents[2] / "configs"

PUBLISHED = (  # reference configs that this package ships under configs/
    "e2e_faster_rcnn_R_50_C4_1x",
    "e2e_mask_rcnn_R_50_C4_1x",
    "e2e_faster_rcnn_R_50_FPN_1x",
    "e2e_faster_rcnn_R_50_FPN_2x",
    "e2e_faster_rcnn_R_101_FPN_1x",
    "e2e_faster_rcnn_R_101_FPN_2x",
    "e2e_mask_rcnn_R_50_FPN_1x",
    "e2e_mask_rcnn_R_50_FPN_2x",
    "e2e_mask_rcnn_R_101_FPN_1x",
    "e2e_mask_rcnn_R_101_FPN_2x",
    "vovnet/e2e_faster_rcnn_V_39_FPN_2x",
    "vovnet/e2e_faster_rcnn_V_57_FPN_2x",
    "vovnet/e2e_mask_rcnn_V_39_FPN_2x",
    "vovnet/e2e_mask_rcnn_V_57_FPN_2x",
    "vovnet/e2e_faster_rcnn_V_75_FPN_2x",
    "vovnet/e2e_mask_rcnn_V_75_FPN_2x",
    "vovnet/e2e_faster_rcnn_V_93_FPN_2x",
    "vovnet/e2e_mask_rcnn_V_93_FPN_2x",
    "vovnet/scratch_mask_rcnn_V_39_FPN_3x_gn",
    "vovnet/scratch_mask_rcnn_V_57_FPN_3x_gn",
)
BY_OPTIONS = (  # reference configs whose model can be built here, but which have no file under configs/
    "gn_baselines/e2e_mask_rcnn_R_50_FPN_1x_gn",
    "gn_baselines/e2e_mask_rcnn_R_50_FPN_Xconv1fc_1x_gn",
    "e2e_faster_rcnn_X_101_32x8d_FPN_1x",
    "e2e_mask_rcnn_X_101_32x8d_FPN_1x",
)
MODELS = PUBLISHED + BY_OPTIONS
BACKBONES = ("V-39-FPN", "R-50-FPN", "R-101-FPN", "V-39-FPN-GN", "R-50-FPN-GN", "R-50-C4")
INFERENCES = ("faster_V39", "faster_R50", "mask_V39", "mask_R50", "mask_R50_nms02_top200", "mask_R50_C4")
TRAININGS = ("faster_V39_1img", "mask_V39_1img", "mask_R50_1img", "mask_V39_GN_1img", "mask_R50_C4_1img")


@cache
def read_json(name: str) -> Any:
    """The content of data/`name`; shared between callers, who leave it as it is."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def read_arrays(name: str) -> dict[str, Tensor]:
    """The arrays of data/`name`."""
    with np.load(DATA / name) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def read_state_dict(config: str) -> dict[str, Any]:
    """The reference's record of a config's model, optimizer and options."""
    return read_json(f"state_dicts/{config.replace('/', '__')}.json")


def config_of(config: str, opts: tuple[Any, ...] = ()) -> ConfigNode:
    """A reference config (with or without .yaml) on the CPU: from configs/, or from its recorded options."""
    config = config.removesuffix(".yaml")
    fixed = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHT", "", *opts]
    if config in PUBLISHED:
        return load_config(str(CONFIGS / f"{config}.yaml"), fixed)
    recorded = read_state_dict(config)["non_default_options"]
    return load_config(None, [item for pair in recorded.items() for item in pair] + fixed)
