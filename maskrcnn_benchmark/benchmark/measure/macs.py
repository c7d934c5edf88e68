"""Multiply-accumulates of one image, by stage, as torch.utils.flop_counter counts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from maskrcnn_benchmark.benchmark.measure.images import Images
from maskrcnn_benchmark.benchmark.measure.stages import StageMeter, watched
from maskrcnn_benchmark.benchmark.measure.subject import Subject
from maskrcnn_benchmark.benchmark.row import STAGES, Macs

FLOPS_PER_MAC = 2
CORNERS = 4  # of the bilinear interpolation of one sample
ADAPTIVE_SAMPLING = 2  # assumed where RoIAlign's samples per bin depend on the RoI's size


def count_macs(subject: Subject, images: Images) -> Macs:
    """Counts the MACs of the first image: convolutions, matrix products and RoIAlign's interpolation.

    It takes the path of training. Inference fuses convolutions into operators that the counter does not know;
    they do the same arithmetic.
    """
    subject.model.eval()
    sample = images.test_image(0)
    batch = subject.collate([sample])
    counter = FlopCounterMode(display=False, custom_mapping=roi_align_formulas())
    meter = StageMeter(lambda: float(counter.get_total_flops()))
    eager = torch.compiler.set_stance("force_eager")  # compiled graphs hide what they compute
    with eager, training_path(subject.model), counter, watched(subject.stage_calls(), meter), meter.run():
        subject.detect(subject.to_device(batch))
    counted = {stage: round(flops) // FLOPS_PER_MAC for stage, flops in meter.totals.items()}
    by_stage = {stage: macs for stage in STAGES if (macs := counted[stage])}
    height, width = _padded_hw(batch, sample.image.shape)
    return Macs(by_stage, sum(by_stage.values()), (height, width))


@contextmanager
def training_path(model: nn.Module) -> Iterator[None]:
    """Enables gradients while no parameter asks for one: the path of training, with nothing kept."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def roi_align_formulas() -> dict[Any, Any]:
    """Flop formulas of the RoIAlign operators that are loaded, for `custom_mapping`."""
    formulas: dict[Any, Any] = {}
    if hasattr(torch.ops.maskrcnn_benchmark, "roi_align"):
        formulas[torch.ops.maskrcnn_benchmark.roi_align] = multilevel_roi_align_flops
    if hasattr(torch.ops.torchvision, "roi_align"):
        formulas[torch.ops.torchvision.roi_align] = single_level_roi_align_flops
    return formulas


def multilevel_roi_align_flops(
    feature_shapes: Any,
    rois_shape: Any,
    scales: Any,
    pooled_h: int,
    pooled_w: int,
    sampling_ratio: int,
    channels_last: bool,
    out_shape: Any = None,
) -> int:
    """Flops of `maskrcnn_benchmark::roi_align`, from the shapes of its arguments."""
    return _interpolation_flops(rois_shape[0], feature_shapes[0][1], pooled_h * pooled_w, sampling_ratio)


def single_level_roi_align_flops(
    feature_shape: Any,
    rois_shape: Any,
    spatial_scale: float,
    pooled_h: int,
    pooled_w: int,
    sampling_ratio: int,
    aligned: bool,
    out_shape: Any = None,
) -> int:
    """Flops of `torchvision::roi_align`, from the shapes of its arguments."""
    return _interpolation_flops(rois_shape[0], feature_shape[1], pooled_h * pooled_w, sampling_ratio)


def _interpolation_flops(num_rois: int, channels: int, bins: int, sampling_ratio: int) -> int:
    samples = (sampling_ratio if sampling_ratio > 0 else ADAPTIVE_SAMPLING) ** 2
    return num_rois * channels * bins * samples * CORNERS * FLOPS_PER_MAC


def _padded_hw(batch: Any, image_shape: torch.Size) -> tuple[int, int]:
    """Height and width of the network's input; of the image itself where the network does the padding."""
    tensors = getattr(getattr(batch, "images", None), "tensors", None)
    height, width = (image_shape if tensors is None else tensors.shape)[-2:]
    return int(height), int(width)
