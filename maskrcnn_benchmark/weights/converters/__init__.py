"""Weights of other projects, recognised by names and shapes alone, under this project's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from maskrcnn_benchmark.modeling.backbone.body import BODY_PREFIX
from maskrcnn_benchmark.weights.converters.caffe2 import convert_caffe2
from maskrcnn_benchmark.weights.converters.converted import Converted
from maskrcnn_benchmark.weights.converters.detectron2 import convert_detectron2
from maskrcnn_benchmark.weights.converters.pytorchcv import convert_pytorchcv
from maskrcnn_benchmark.weights.converters.timm import convert_timm
from maskrcnn_benchmark.weights.converters.torchvision import convert_torchvision
from maskrcnn_benchmark.weights.converters.vovnet_authors import convert_vovnet_authors

CONVERTERS = (
    convert_torchvision,
    convert_timm,
    convert_pytorchcv,
    convert_detectron2,
    convert_caffe2,
    convert_vovnet_authors,
)


def convert(state: Mapping[str, Tensor]) -> Converted | None:
    """The weights under this project's names; None where they are of no source that is known here.

    None, too, for this project's and the family's own names ("backbone.body..."). A converter does not
    refuse: an entry that it cannot place keeps its name, so that a loader finds it unused and says so.

    Raises:
        ValueError: two entries of the source would get one name.
    """
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if any(name.startswith(BODY_PREFIX) for name in state):
        return None
    found = (converter(state) for converter in CONVERTERS)
    return next((converted for converted in found if converted is not None), None)
