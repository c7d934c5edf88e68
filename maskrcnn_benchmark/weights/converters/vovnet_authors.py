"""The VoVNet authors' ImageNet files (vovnet39_statedict_norm.pth): a body under the names used here."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX
from maskrcnn_benchmark.weights.architecture import recognize_body
from maskrcnn_benchmark.weights.converters.converted import COUNTER, Converted, rename

MARK = "stage2.OSA2_1.layers.0.OSA2_1_0/conv.weight"
FIRST_WEIGHT, FIRST_VARIANCE = "stem.stem_1/conv.weight", "stem.stem_1/norm.running_var"
# Behind the first filters the variance is about the filter's squared norm times the pixels' variance: some
# thousands for pixels of 0..255, some ones for pixels divided by their standard deviation.
LEAST_VARIANCE_RATIO = 60
SMALL_PIXELS = (
    "the variances behind the first convolution are those of a network whose pixels are red, green, blue, "
    "divided by their standard deviation (as in the authors' *_torchvision.pth files); if so, "
    "INPUT.TO_BGR255, PIXEL_MEAN and PIXEL_STD must say it"
)


def convert_vovnet_authors(state: Mapping[str, Tensor]) -> Converted | None:
    """The body without the classifier, values as they are: the published detectors started from these."""
    if MARK not in state or any(".ese." in name for name in state):
        return None
    renamed, dropped = rename(state, _new_name)
    body = recognize_body(renamed)
    return Converted(
        state=renamed,
        source=f"ImageNet weights of the VoVNet authors ({body or 'of a structure unknown here'})",
        body=body,
        is_detector=False,
        batch_norm_eps=0.0,
        pixels=None,
        dropped=dropped,
        notes=(SMALL_PIXELS,) if _takes_small_pixels(state) else (),
    )


def _new_name(name: str) -> str | None:
    if name.startswith("classifier.") or name.endswith(COUNTER):
        return None
    return f"{BODY_PREFIX}{name}"


def _takes_small_pixels(state: Mapping[str, Tensor]) -> bool:
    """Whether the stem's statistics are those of normalised pixels; False where they are not known."""
    if FIRST_WEIGHT not in state or FIRST_VARIANCE not in state:
        return False
    energy = state[FIRST_WEIGHT].float().pow(2).sum((1, 2, 3))
    ratio = torch.median(state[FIRST_VARIANCE].float() / energy)
    return bool(ratio < LEAST_VARIANCE_RATIO)
