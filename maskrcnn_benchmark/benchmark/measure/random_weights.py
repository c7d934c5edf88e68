"""Random weights under which a detector's heads have as much to do as a trained one's.

With fresh weights a detector finds next to nothing, or everything. The last layers of the RPN and of the box
head are therefore scaled by what they compute on a few images: objectness and class scores then differ from
RoI to RoI as much as those of a trained model do. Everything before them keeps its initial weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

HOW = (
    "random weights; the last layers of RPN and box head are scaled on {images} images until objectness and "
    "class scores are spread like a trained model's"
)
# Standard deviations over the RoIs of an image. The background's advantage leaves about one in a hundred
# pairs of RoI and class above the score threshold of 0.05.
OBJECTNESS_SPREAD, PROPOSAL_SPREAD = 2.0, 0.2
CLASS_SPREAD, BOX_SPREAD, BACKGROUND_LOGIT = 1.5, 0.5, 6.0
RESIDUAL_SCALE = 0.2


@torch.no_grad()
def quiet_residuals(model: nn.Module) -> None:
    """Scales the last norm of every bottleneck, so that residual sums do not grow with depth."""
    for name, module in model.named_modules():
        if name.endswith("bn3"):
            cast(Tensor, module.weight).fill_(RESIDUAL_SCALE)


@torch.no_grad()
def spread_outputs(rpn_head: nn.Module, box_predictor: nn.Module, run: Callable[[], object]) -> None:
    """Scales the last layers of both by what they compute in `run`, which runs the detector on images.

    Both have `bbox_pred`. The RPN's head has `cls_logits` and returns lists of logits and deltas, one entry a
    level. The predictor has `cls_score` and returns logits [K, C] and deltas [K, 4 * C].
    """
    with outputs_of(rpn_head) as outputs:
        run()
    logits = torch.cat([level.flatten() for output in outputs for level in output[0]])
    deltas = torch.cat([level.flatten() for output in outputs for level in output[1]])
    _scale(rpn_head.get_submodule("cls_logits"), OBJECTNESS_SPREAD / logits.float().std())
    _scale(rpn_head.get_submodule("bbox_pred"), PROPOSAL_SPREAD / deltas.float().std())
    with outputs_of(box_predictor) as outputs:
        run()
    scores = torch.cat([output[0] for output in outputs]).float()
    boxes = torch.cat([output[1] for output in outputs]).float()
    cls_score = box_predictor.get_submodule("cls_score")
    factor = CLASS_SPREAD / scores.std(dim=0).mean()
    _scale(cls_score, factor)
    bias = cast(Tensor, cls_score.bias)
    bias.sub_(factor * scores.mean(dim=0))
    bias[0] += BACKGROUND_LOGIT
    _scale(box_predictor.get_submodule("bbox_pred"), BOX_SPREAD / boxes.std())


@contextmanager
def outputs_of(module: nn.Module) -> Iterator[list[Any]]:
    """Collects what a module returns while this is entered, call after call."""
    outputs: list[Any] = []
    hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        hook.remove()


def _scale(layer: nn.Module, factor: Tensor) -> None:
    """Scales weight and bias; leaves them where the factor is not finite, as all outputs are alike."""
    if factor.isfinite():
        cast(Tensor, layer.weight).mul_(factor)
        cast(Tensor, layer.bias).mul_(factor)
