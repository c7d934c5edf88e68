"""A real detector, small enough for tests, and files of the published ones in small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from golden.reference import config_of, read_json
from torch import Tensor

from maskrcnn_benchmark.config import ConfigNode, load_config
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model
from maskrcnn_benchmark.modeling.rpn.anchor_generator import build_anchor_generator

ROOT = Path(__file__).parents[2]
SMALL = [
    *("MODEL.BACKBONE.CONV_BODY", "V-27-slim-FPN", "MODEL.VOVNET.OUT_CHANNELS", 128, "MODEL.MASK_ON", True),
    *("MODEL.VOVNET.BACKBONE_OUT_CHANNELS", 32, "MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM", 16, "MODEL.DEVICE", "cpu"),
    *("MODEL.ROI_MASK_HEAD.CONV_LAYERS", (8,), "INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 96),
    *("MODEL.RPN.PRE_NMS_TOP_N_TEST", 100, "MODEL.RPN.FPN_POST_NMS_TOP_N_TEST", 20),
    *("MODEL.ROI_HEADS.SCORE_THRESH", 0.0, "MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 10),
]
CELLS = "rpn.anchor_generator.cell_anchors"
CONFIG = ROOT / "configs" / "vovnet" / "e2e_mask_rcnn_V_39_FPN_2x.yaml"


def small_config(num_classes: int = 4, *opts: object) -> ConfigNode:
    """A Mask R-CNN of the published V-39 config, with a small body and small heads."""
    classes = ["MODEL.ROI_BOX_HEAD.NUM_CLASSES", num_classes]
    return load_config(str(CONFIG), [*SMALL, *classes, *opts])


def small_detector(num_classes: int = 4, seed: int = 0, *opts: object) -> GeneralizedRCNN:
    """`small_config` built, with weights that make every layer count."""
    torch.manual_seed(seed)
    model = build_detection_model(small_config(num_classes, *opts)).eval()
    for name, tensor in model.state_dict().items():
        if "predictor" in name or "cls_logits" in name:
            torch.nn.init.normal_(tensor, std=0.1)
    return model


def empty_detector(config: str) -> GeneralizedRCNN:
    """The detector of a published config without memory for its weights (on the meta device)."""
    cfg = config_of(config)
    with torch.device("meta"):
        model = build_detection_model(cfg)
    model.rpn.anchor_generator = build_anchor_generator(cfg)
    model.pixel_mean, model.pixel_std = torch.tensor(cfg.INPUT.PIXEL_MEAN), torch.tensor(cfg.INPUT.PIXEL_STD)
    return model


def published_state(config: str, rename: Callable[[str], str] = str) -> dict[str, Tensor]:
    """The names and shapes of a published detector's file, as the reference implementation writes them.

    Every tensor but the anchors is one number repeated, so that a file of them is small.
    """
    facts = read_json(f"state_dicts/{config.replace('/', '__').replace('.yaml', '.json')}")
    cells = read_json("ops/anchors.json")["C4" if "C4" in config else "FPN"]["cell_anchors"]
    anchors = {f"{CELLS}.{level}": torch.tensor(boxes) for level, boxes in enumerate(cells)}
    repeated = {name: torch.tensor(0.5).expand(shape) for name, shape, *_ in facts["state_dict"]}
    return {rename(name): anchors.get(name, tensor) for name, tensor in repeated.items()}
