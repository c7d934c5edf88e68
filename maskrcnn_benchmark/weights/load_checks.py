"""What is checked in any file's weights before they are matched to a model, and what is set right in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.weights.load_report import LoadReport, shortened
from maskrcnn_benchmark.weights.matching import CELL_ANCHORS

# Config keys under which the same weights compute something else.
MEANING = (
    "INPUT.PIXEL_MEAN",
    "INPUT.PIXEL_STD",
    "INPUT.TO_BGR255",
    "MODEL.RESNETS.STRIDE_IN_1X1",
    "MODEL.ROI_HEADS.BBOX_REG_WEIGHTS",
)


def check_finite(state: Mapping[str, Tensor], where: str) -> None:
    """Raises ValueError naming the tensors that hold NaN or infinite values."""
    values = {key: with_arithmetic(tensor) for key, tensor in state.items() if not tensor.is_meta}
    bad = [
        f"{key} ({int((~tensor.isfinite()).sum())} of {tensor.numel()} values)"
        for key, tensor in values.items()
        # a finite sum has finite terms only, and takes a fraction of the time
        if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all()
    ]
    if bad:
        raise ValueError(
            f"{where}: NaN or infinite values in {shortened(bad)}; the file is damaged or of a training that "
            "diverged, take an earlier checkpoint"
        )


def with_arithmetic(tensor: Tensor) -> Tensor:
    """The same values in a dtype and layout that can be computed with; as it is where it can, or none can.

    8-bit floating-point and quantized values come in float32, sparse tensors dense.
    """
    if tensor.is_quantized:
        return tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_floating_point() and torch.finfo(tensor.dtype).bits == 8:
        return tensor.float()
    return tensor


def in_single_precision(state: Mapping[str, Tensor], notes: list[str], where: str) -> dict[str, Tensor]:
    """Every tensor of numbers with a fraction in float32; said in `notes`.

    Raises:
        ValueError: tensors that cannot become float32 (two 4-bit numbers in a byte, complex numbers), or that
            have no values (of the meta device), by name.
    """
    others = Counter(
        str(tensor.dtype).removeprefix("torch.") + (" (sparse)" if tensor.layout != torch.strided else "")
        for tensor in state.values()
        if _is_converted(tensor)
    )
    impossible = [
        f"{key} ({'without values' if tensor.is_meta else str(tensor.dtype).removeprefix('torch.')})"
        for key, tensor in state.items()
        if tensor.is_meta or tensor.is_complex() or tensor.dtype == torch.float4_e2m1fn_x2
    ]
    if impossible:
        raise ValueError(
            f"{where}: tensors that cannot become float32: {shortened(impossible)}; have the weights saved "
            "as float32"
        )
    notes += [f"{count} tensors stored as {kind}, loaded as float32" for kind, count in others.items()]
    return {
        key: with_arithmetic(tensor).float() if _is_converted(tensor) else tensor
        for key, tensor in state.items()
    }


def _is_converted(tensor: Tensor) -> bool:
    is_other = tensor.dtype != torch.float32 or tensor.layout != torch.strided
    return tensor.is_quantized or (tensor.is_floating_point() and is_other)


def without_anchors(state: dict[str, Tensor], model: nn.Module, report: LoadReport) -> dict[str, Tensor]:
    """The state without its cell anchors: the config's are used; a difference is warned of."""
    ours = {key: tensor for key, tensor in model.state_dict().items() if CELL_ANCHORS in key}
    theirs = {key: tensor for key, tensor in state.items() if CELL_ANCHORS in key}
    different = [
        key
        for key in sorted(ours.keys() | theirs.keys())
        if key not in ours or key not in theirs or not _same_anchors(ours[key], theirs[key])
    ]
    if theirs and different:
        report.warnings.append(
            f"the file was trained with other anchors than the config's, which are used: "
            f"{shortened(different)}; compare MODEL.RPN.ANCHOR_SIZES, ANCHOR_STRIDE and ASPECT_RATIOS"
        )
    return {key: tensor for key, tensor in state.items() if key not in theirs}


def _same_anchors(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and torch.allclose(ours.cpu(), theirs.cpu().float(), atol=1e-3)


def compare_settings(ours: Mapping[str, object], theirs: Mapping[str, object], report: LoadReport) -> None:
    """Warns where the file was trained under settings that make something else of the same weights."""
    for key in MEANING:
        if key in ours and key in theirs and plain(ours[key]) != plain(theirs[key]):
            report.warnings.append(
                f"the file was trained with {key} {theirs[key]}, the config has {ours[key]}"
            )


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
