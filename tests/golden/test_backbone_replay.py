"""Maps of the bodies, the pyramid and the RPN head, against records of the reference's."""

import pytest
import torch
from golden.reference import BACKBONES, config_of, read_json
from golden.rules import assert_matches_record, fill_weights, network_input
from torch import nn

from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.rpn.rpn import build_rpn


@pytest.mark.parametrize("name", BACKBONES)
def test_maps(name: str) -> None:
    record = read_json("model/backbones.json")[name]
    cfg = config_of(record["config"])
    backbone = build_backbone(cfg)
    model = nn.ModuleDict({"backbone": backbone, "rpn": build_rpn(cfg, backbone.out_channels)})
    fill_weights(model)
    model.eval()
    with torch.no_grad():
        body = backbone.body(network_input(256, 320, 0).unsqueeze(0))
        features = body[-1:] if backbone.fpn is None else backbone.fpn(body)
        logits, deltas = model["rpn"].head(features)
    found = {
        "body": body[-len(record["body"]) :],  # of a C4 body the reference gives the last map alone
        "fpn": features,
        "rpn_objectness_logits": logits,
        "rpn_bbox_deltas": deltas,
    }
    for kind, levels in found.items():
        for i, (level, expected) in enumerate(zip(levels, record[kind], strict=True)):
            assert_matches_record(level, expected, f"{name} {kind} {i}")
