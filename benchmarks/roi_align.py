"""Time of roi_align over a pyramid beside torchvision's MultiScaleRoIAlign, same maps and boxes, in one run.

    python benchmarks/roi_align.py [--device cuda] [--output benchmarks/results/roi_align_cpu]

A pyramid of 256 channels for one 800 x 1216 image, strides 4 to 32, sampling ratio 2. Both get the maps in
the layout that a row names; ours returns that layout too, torchvision's is always contiguous. torchvision
chooses the level by (x2 - x1)(y2 - y1), we by pixel counts, so a few boxes at a border are pooled from
neighbouring levels; the others are checked to agree.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import common
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from maskrcnn_benchmark.layers import multilevel_roi_align
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory

IMAGE_HW = (800, 1216)
STRIDES = (4, 8, 16, 32)
CHANNELS = 256
SAMPLING_RATIO = 2
CASES = ((512, 7), (1000, 7), (128, 14))  # boxes, bins a side
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def make_boxes(n: int, generator: torch.Generator) -> Tensor:
    """n boxes inside the image, their sides spread evenly in the logarithm between 20 and 600 pixels."""
    image_wh = torch.tensor([IMAGE_HW[1], IMAGE_HW[0]])
    side = 20 * torch.exp(torch.rand(n, 1, generator=generator) * math.log(600 / 20))
    stretch = torch.exp((torch.rand(n, 1, generator=generator) - 0.5) / 2)
    size_wh = torch.minimum(torch.cat([side * stretch, side / stretch], dim=1), image_wh - 1.0)
    corner = torch.rand(n, 2, generator=generator) * (image_wh - size_wh)
    return torch.cat([corner, corner + size_wh], dim=1)


def make_maps(layout: str, dtype: torch.dtype, device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, CHANNELS, IMAGE_HW[0] // s, IMAGE_HW[1] // s) for s in STRIDES]
    maps = [torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes]
    return [m.contiguous(memory_format=FORMATS[layout]).requires_grad_() for m in maps]


def make_pair(maps: list[Tensor], boxes: Tensor, bins: int, layout: str) -> dict[str, Callable[[], Tensor]]:
    """The two poolings of the same boxes."""
    rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)
    names = [str(i) for i in range(len(maps))]
    pooler = MultiScaleRoIAlign(names, bins, SAMPLING_RATIO)
    channels_last = layout == "channels_last"
    # torchvision's operator takes no bfloat16, and on a CPU no float16 either: it is given float32.
    takes = (torch.float32, torch.float16) if maps[0].is_cuda else (torch.float32,)
    theirs_dtype = maps[0].dtype if maps[0].dtype in takes else torch.float32

    def ours() -> Tensor:
        scales = [1 / s for s in STRIDES]
        return multilevel_roi_align(maps, rois, scales, (bins, bins), SAMPLING_RATIO, channels_last)

    def theirs() -> Tensor:
        features = dict(zip(names, (m.to(theirs_dtype) for m in maps), strict=True))
        return pooler(features, [boxes.to(theirs_dtype)], [IMAGE_HW])

    return {"ours": ours, "torchvision": theirs}


def check_agreement(pair: dict[str, Callable[[], Tensor]], dtype: torch.dtype) -> int:
    """How many boxes are pooled from other levels; the rest must agree."""
    with torch.no_grad():
        ours, theirs = (run().float() for run in pair.values())
    tolerance = 1e-3 if dtype == torch.float32 else 5e-2
    differs = (ours - theirs).abs().flatten(1).amax(1) > tolerance
    if differs.float().mean() > 0.05:
        raise SystemExit(
            f"roi_align and torchvision's differ on {int(differs.sum())} of {len(differs)} boxes"
        )
    return int(differs.sum())


def make_candidates(
    pair: dict[str, Callable[[], Tensor]], maps: list[Tensor], direction: str
) -> dict[str, Callable[[], object]]:
    """The calls to time: forward alone, or with the gradient of every map."""
    if direction == "forward":

        def without_grad(pool: Callable[[], Tensor]) -> Callable[[], object]:
            return torch.no_grad()(pool)

        return {name: without_grad(pool) for name, pool in pair.items()}

    def with_grad(pool: Callable[[], Tensor]) -> Callable[[], object]:
        grad = torch.randn_like(pool())
        return lambda: torch.autograd.grad(pool(), maps, grad)

    return {name: with_grad(pool) for name, pool in pair.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="type of the maps")
    parser.add_argument("--repeats", type=int, default=11, help="timed calls of each, taken in turns")
    parser.add_argument("--output", help="path without suffix for the .md and .json")
    arguments = parser.parse_args()
    keep_freed_memory()  # for both: as this project's tools do

    rows, data = [], {}
    dtype = DTYPES[arguments.dtype]
    for layout in FORMATS:
        maps = make_maps(layout, dtype, arguments.device)
        for num_boxes, bins in CASES:
            boxes = make_boxes(num_boxes, torch.Generator().manual_seed(1)).to(arguments.device)
            pair = make_pair(maps, boxes, bins, layout)
            other_level = check_agreement(pair, dtype)
            for direction in ("forward", "forward + backward"):
                seconds = common.interleaved(make_candidates(pair, maps, direction), arguments.repeats)
                median = common.medians(seconds)
                ratio = median["torchvision"] / median["ours"]
                name = f"{num_boxes} x {bins}x{bins}, {layout}, {direction}"
                times = [f"{median[who] * 1e3:.2f}" for who in ("ours", "torchvision")]
                rows.append([name, *times, f"{ratio:.1f}"])
                data[name] = {
                    "median_s": median,
                    "ratio": ratio,
                    "seconds": seconds,
                    "other_level": other_level,
                }
    common.report(
        f"RoIAlign over a pyramid, {arguments.dtype}",
        [f"Medians of {arguments.repeats} calls taken in turns, on {arguments.device}; milliseconds."],
        common.table(["boxes and bins", "ours", "torchvision", "ratio"], rows),
        {"device": arguments.device, "dtype": arguments.dtype, "cases": data},
        arguments.output,
    )


if __name__ == "__main__":
    main()
