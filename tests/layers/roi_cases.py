"""Pyramids and regions that the tests of roi_align share, and a slow reference."""

import math

import pytest
import torch

from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES

INF, NAN = float("inf"), float("nan")
SCALES = (1 / 4, 1 / 8, 1 / 16)
IMAGE_HW = (192, 256)
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# Rounding of the result: float32 sums in another order, or one rounding to the narrower type.
TOLERANCE = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.bfloat16: {"rtol": 1e-2, "atol": 1e-2},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
}

needs_library = pytest.mark.skipif("cpu" not in KERNEL_DEVICES, reason="the operators are not built here")

STRANGE_ROIS = torch.tensor(
    [
        [0, -300, -300, -200, -200],  # outside
        [1, 250, 180, 900, 900],  # mostly outside
        [0, 50, 50, 50, 50],  # a point
        [1, 90, 90, 40, 30],  # corners exchanged: one feature pixel wide
        [0, -40, 100, 300, 101],  # wide and flat
        [0, 10.5, 20.25, 11, 20.5],
    ]
)
UNUSABLE_ROIS = torch.tensor(
    [
        [-1, 10, 10, 50, 50],
        [2, 10, 10, 50, 50],  # beyond the batch
        [NAN, 10, 10, 50, 50],
        [0, NAN, 10, 50, 50],
        [0, 10, 10, INF, 50],
        [1, 10, -INF, 50, 50],
        [0, -INF, -INF, INF, INF],
    ]
)


def random_rois(n, batch, image_hw=IMAGE_HW, seed=0):
    """n rois of all sizes, some of them partly outside the image."""
    generator = torch.Generator().manual_seed(seed)
    height, width = image_hw
    corners = torch.rand(n, 2, 2, generator=generator) ** 2 * torch.tensor([width, height]) * 1.2 - 10
    boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    return torch.cat([torch.randint(batch, (n, 1), generator=generator).float(), boxes], dim=1)


def pyramid(batch=2, channels=5, dtype=torch.float32, layout="contiguous", scales=SCALES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    height, width = IMAGE_HW
    return [
        torch.randn(batch, channels, int(height * s), int(width * s), generator=generator)
        .to(dtype)
        .contiguous(memory_format=FORMATS[layout])
        for s in scales
    ]


def slow_sample(plane, y, x):
    """Bilinear value of a [H, W] plane at a point; 0 more than a pixel outside."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    y0, x0 = math.floor(y), math.floor(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    top = plane[y0, x0] * (x0 + 1 - x) + plane[y0, x1] * (x - x0)
    bottom = plane[y1, x0] * (x0 + 1 - x) + plane[y1, x1] * (x - x0)
    return float(top * (y0 + 1 - y) + bottom * (y - y0))


def slow_roi_align(feature, rois, output_hw, scale, sampling_ratio):
    """The rules of layers/roi_align.py for one map, one sample after another, in float64."""
    feature = feature.double()
    out = torch.zeros(len(rois), feature.shape[1], *output_hw, dtype=torch.float64)
    for k, (batch, *box) in enumerate(rois.double().tolist()):
        if not 0 <= batch < len(feature) or not all(map(math.isfinite, box)):
            continue
        x1, y1, x2, y2 = (side * scale for side in box)
        bin_h, bin_w = max(y2 - y1, 1) / output_hw[0], max(x2 - x1, 1) / output_hw[1]
        grid_h, grid_w = sampling_ratio or math.ceil(bin_h), sampling_ratio or math.ceil(bin_w)
        for c, i, j in torch.cartesian_prod(*map(torch.arange, out.shape[1:])).tolist():
            values = [
                slow_sample(
                    feature[int(batch), c],
                    y1 + (i + (iy + 0.5) / grid_h) * bin_h,
                    x1 + (j + (ix + 0.5) / grid_w) * bin_w,
                )
                for iy in range(grid_h)
                for ix in range(grid_w)
            ]
            out[k, c, i, j] = sum(values) / len(values)
    return out
