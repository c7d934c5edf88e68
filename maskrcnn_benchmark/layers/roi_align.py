"""RoIAlign over one feature map or a whole pyramid (csrc/cpu/roi_align*.cpp, csrc/cuda/roi_align*.cu).

Mask R-CNN (He et al. 2017), section 3; levels by Feature Pyramid Networks (Lin et al. 2017), equation 1.
Rules, the same on every device and in the fallback:

* Legacy boxes: no half-pixel shift (torchvision's aligned=False), a roi is at least one feature pixel wide.
* A bin is the mean of ``sampling_ratio`` squared bilinear samples; 0 takes ceil(roi size / bins) along an
  axis.
* Level ``floor(4 + log2(sqrt(area) / 224 + 1e-6))``, where the area counts pixels, clamped to the levels
  given. Each level is half the one before. One level: no rule.
* A roi gives zeros, and no gradient, where its batch index is negative (an unused slot) or not below N,
  where a coordinate is NaN or infinite, and where, with several levels, it has a negative area.
* float16 and bfloat16 features are summed in float32 and rounded once; rois are float32 (float64 beside
  float64 features). Autocast changes nothing: features keep their dtype, rois are never rounded.
* The backward pass on the CPU adds in a fixed order, for any number of threads. On a GPU it adds atomically,
  in no fixed order; under torch.use_deterministic_algorithms it takes the CPU's path (and synchronises).
* rois get no gradient.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES, LOAD_ERROR


def multilevel_roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    scales: Sequence[float],
    output_size: tuple[int, int],
    sampling_ratio: int,
    channels_last: bool = True,
) -> Tensor:
    """Pools every roi from the pyramid level that its size calls for.

    Args:
        features: L maps [N, C, Hl, Wl], finest first, of one floating dtype, in either memory format.
        rois: [K, 5] image index, x1, y1, x2, y2 in image pixels.
        scales: feature pixels per image pixel of each map (1/4, 1/8, ...).
        output_size: bins (height, width).
        sampling_ratio: samples per bin and axis; 0 adapts to the roi.
        channels_last: memory format of the result.

    Returns:
        [K, C, height, width] of the features' dtype.

    Raises:
        RuntimeError: on shapes, dtypes or devices that do not fit together.
    """
    height, width = output_size
    if features[0].device.type in KERNEL_DEVICES:
        return torch.ops.maskrcnn_benchmark.roi_align(
            list(features), rois, list(scales), height, width, sampling_ratio, channels_last
        )
    return roi_align_with_torchvision(features, rois, scales, output_size, sampling_ratio, channels_last)


def roi_align(
    input: Tensor, rois: Tensor, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int
) -> Tensor:
    """RoIAlign from one map, in the family's order of arguments; the result keeps the map's memory format."""
    size = (output_size, output_size) if isinstance(output_size, int) else output_size
    return multilevel_roi_align([input], rois, [spatial_scale], size, sampling_ratio, is_channels_last(input))


class ROIAlign(nn.Module):
    """RoIAlign from one feature map."""

    def __init__(self, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """[K, C, height, width] from a map [N, C, H, W] and rois [K, 5] (image index, x1, y1, x2, y2)."""
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}"
        )


def is_channels_last(tensor: Tensor) -> bool:
    """Whether a [N, C, H, W] tensor is stored pixel by pixel (False where both formats are the same)."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def memory_format(channels_last: bool) -> torch.memory_format:
    """The memory format that a `channels_last` argument asks for."""
    return torch.channels_last if channels_last else torch.contiguous_format


def levels_of_rois(rois: Tensor, scales: Sequence[float]) -> Tensor:
    """Index of the pyramid level of each roi [K, 5]; -1 where the box has no level."""
    if len(scales) == 1:
        return torch.zeros(len(rois), dtype=torch.int64, device=rois.device)
    finest = round(-torch.tensor(scales[0], dtype=torch.float64).log2().item())
    area = (rois[:, 3] - rois[:, 1] + 1) * (rois[:, 4] - rois[:, 2] + 1)
    levels = torch.floor(4 + torch.log2(torch.sqrt(area) / 224 + 1e-6))
    index = (levels - finest).clamp(0, len(scales) - 1).nan_to_num().to(torch.int64)
    return index.masked_fill(~(area >= 0), -1)


def roi_align_with_torchvision(
    features: Sequence[Tensor],
    rois: Tensor,
    scales: Sequence[float],
    output_size: tuple[int, int],
    sampling_ratio: int,
    channels_last: bool,
) -> Tensor:
    """``multilevel_roi_align`` by torchvision's operator, level by level, for where ours is not built."""
    dtype = torch.float64 if features[0].dtype == torch.float64 else torch.float32
    rois = rois.detach().to(dtype)
    levels = levels_of_rois(rois, scales)
    is_usable = rois.isfinite().all(dim=1) & (rois[:, 0] >= 0) & (rois[:, 0] < features[0].shape[0])
    pooled = features[0].new_zeros((len(rois), features[0].shape[1], *output_size), dtype=dtype)
    for level, (feature, scale) in enumerate(zip(features, scales, strict=True)):
        index = torch.nonzero(is_usable & (levels == level)).squeeze(1)
        of_level = torchvision.ops.roi_align(
            feature.to(dtype), rois[index], output_size, scale, sampling_ratio, aligned=False
        )
        pooled = pooled.index_copy(0, index, of_level)
    return pooled.to(features[0].dtype).contiguous(memory_format=memory_format(channels_last))


if LOAD_ERROR is None:

    @torch.library.register_fake("maskrcnn_benchmark::roi_align")
    def _(
        features: Sequence[Tensor],
        rois: Tensor,
        scales: Sequence[float],
        pooled_h: int,
        pooled_w: int,
        sampling_ratio: int,
        channels_last: bool,
    ) -> Tensor:
        shape = (rois.shape[0], features[0].shape[1], pooled_h, pooled_w)
        return torch.empty(
            shape,
            dtype=features[0].dtype,
            device=features[0].device,
            memory_format=memory_format(channels_last),
        )

    @torch.library.register_fake("maskrcnn_benchmark::roi_align_backward")
    def _(
        grad: Tensor,
        rois: Tensor,
        shapes: Sequence[int],
        scales: Sequence[float],
        pooled_h: int,
        pooled_w: int,
        sampling_ratio: int,
        channels_last: bool,
    ) -> list[Tensor]:
        return [
            torch.empty(
                shapes[4 * i : 4 * i + 4],
                dtype=grad.dtype,
                device=grad.device,
                memory_format=memory_format(channels_last),
            )
            for i in range(len(scales))
        ]

    def keep_for_backward(ctx: Any, inputs: tuple, output: Tensor) -> None:
        """Keeps the rois and the shapes: the features themselves are not needed."""
        features, rois, *options, _ = inputs
        ctx.save_for_backward(rois)
        ctx.shapes = [side for feature in features for side in feature.shape]
        ctx.options = options
        ctx.channels_last = is_channels_last(features[0])

    def spread_gradient(ctx: Any, grad: Tensor) -> tuple:
        """The gradient of every map, in the memory format of the first."""
        (rois,) = ctx.saved_tensors
        device = "cpu" if torch.are_deterministic_algorithms_enabled() else grad.device
        grads = torch.ops.maskrcnn_benchmark.roi_align_backward(
            grad.to(device), rois.to(device), ctx.shapes, *ctx.options, ctx.channels_last
        )
        return [g.to(grad.device) for g in grads], *(None,) * 6

    torch.library.register_autograd(
        "maskrcnn_benchmark::roi_align", spread_gradient, setup_context=keep_for_backward
    )
