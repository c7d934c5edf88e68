"""VoVNetV2 bodies (Lee and Park 2020, "CenterMask: Real-Time Anchor-Free Instance Segmentation").

Against the first version (section 3.3): effective squeeze-excitation; lighter members with three layers a
module; separable 3x3 convolutions where a name ends in -dw. Parameters are named as in vovnet-detectron2.

Published weights come in two structures: timm's squeeze in the last module of each stage, vovnet-detectron2's
in every module, for which MODEL.VOVNET.SQUEEZE_EVERY_MODULE stands. The 19-layer members, with one module a
stage, are the same in both.
"""

from __future__ import annotations

from dataclasses import replace

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.modeling.backbone.vovnet import WIDE, VoVNet, VoVNetSpec, make_vovnet
from maskrcnn_benchmark.modeling.registry import BODIES

_SLIM = ((64, 80, 96, 112), (112, 256, 384, 512))
_ONE_EACH = (1, 1, 1, 1)
VOVNET_V2_SPECS = {
    "V2-19-slim-dw": VoVNetSpec(*_SLIM, _ONE_EACH, 3, stem_channels=64, depthwise=True, squeeze="last"),
    "V2-19-slim": VoVNetSpec(*_SLIM, _ONE_EACH, 3, squeeze="last"),
    "V2-19-dw": VoVNetSpec(*WIDE, _ONE_EACH, 3, stem_channels=64, depthwise=True, squeeze="last"),
    "V2-19": VoVNetSpec(*WIDE, _ONE_EACH, 3, squeeze="last"),
    "V2-39": VoVNetSpec(*WIDE, (1, 1, 2, 2), squeeze="last"),
    "V2-57": VoVNetSpec(*WIDE, (1, 1, 4, 3), squeeze="last"),
    "V2-99": VoVNetSpec(*WIDE, (1, 3, 9, 3), squeeze="last"),
}


@BODIES.register(*VOVNET_V2_SPECS)
def build_vovnet_v2(cfg: ConfigNode, name: str) -> VoVNet:
    """The VoVNetV2 body of that name."""
    spec = VOVNET_V2_SPECS[name]
    if cfg.MODEL.VOVNET.SQUEEZE_EVERY_MODULE:
        spec = replace(spec, squeeze="every")
    return make_vovnet(cfg, name, spec)
