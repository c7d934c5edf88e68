"""Maps of the bodies, the pyramid and the RPN head, against records of the reference's."""

import pytest
import torch
from golden.reference import BACKBONES, config_of, read_json
from golden.rules import assert_matches_record, fill_weights, network_input
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.rpn.rpn import build_rpn


def maps_of(values: Tensor, feature: Tensor, per_anchor: int) -> Tensor:
    """The RPN head's [N, H * W * A] or [N, H * W * A, 4] as the reference's map [N, A * per_anchor, H, W]."""
    num_images, _, height, width = feature.shape
    return values.reshape(num_images, height, width, -1, per_anchor).flatten(3).permute(0, 3, 1, 2)


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
        "rpn_objectness_logits": [maps_of(*pair, 1) for pair in zip(logits, features, strict=True)],
        "rpn_bbox_deltas": [maps_of(*pair, 4) for pair in zip(deltas, features, strict=True)],
    }
    for kind, levels in found.items():
        for i, (level, expected) in enumerate(zip(levels, record[kind], strict=True)):
            assert_matches_record(level, expected, f"{name} {kind} {i}")
