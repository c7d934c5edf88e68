"""Time of the convolutions that we compute ourselves, at inference on a CPU in float32, beside oneDNN's.

    python benchmarks/convolutions.py [--output benchmarks/results/convolutions_cpu]

Both give relu(conv(x) + bias) on channels_last maps of an 800 x 1216 image, with the filters prepared before
the clock starts: ours by Winograd's method (3x3) or without a concatenation (1x1 over several maps),
PyTorch's in oneDNN's blocked layout, as its compiler packs them, over torch.cat. The errors are the largest
ones against float64, over the standard deviation of the result.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import common
import torch
from torch import Tensor

from maskrcnn_benchmark.layers.direct_conv import direct_conv2d, direct_weight
from maskrcnn_benchmark.layers.winograd import winograd_conv2d, winograd_weight
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory

# what: kernel, batch, channels of the maps, outputs, height, width
CASES: dict[str, tuple[int, int, Sequence[int], int, int, int]] = {
    "FPN and RPN head, stride 4": (3, 1, [256], 256, 200, 304),
    "FPN and RPN head, stride 8": (3, 1, [256], 256, 100, 152),
    "FPN and RPN head, stride 64": (3, 1, [256], 256, 13, 19),
    "mask head, 100 regions": (3, 100, [256], 256, 14, 14),
    "ResNet stage 2": (3, 1, [64], 64, 200, 304),
    "ResNet stage 3": (3, 1, [128], 128, 100, 152),
    "ResNet stage 4": (3, 1, [256], 256, 50, 76),
    "ResNet stage 5": (3, 1, [512], 512, 25, 38),
    "V-39 stage 2": (3, 1, [128], 128, 200, 304),
    "V-39 stage 3": (3, 1, [160], 160, 100, 152),
    "V-39 stage 4": (3, 1, [192], 192, 50, 76),
    "V-39 stage 5": (3, 1, [224], 224, 25, 38),
    "V-39 stage 2, aggregation": (1, 1, [128, *[128] * 5], 256, 200, 304),
    "V-39 stage 3, aggregation": (1, 1, [256, *[160] * 5], 512, 100, 152),
    "V-39 stage 4, aggregation": (1, 1, [768, *[192] * 5], 768, 50, 76),
    "V-39 stage 5, aggregation": (1, 1, [1024, *[224] * 5], 1024, 25, 38),
}


def make_candidates(parts: list[Tensor], weight: Tensor, bias: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Ours and PyTorch's convolution of the parts, with what can be prepared prepared."""
    kernel = weight.shape[-1]
    geometry = ([kernel // 2] * 2, [1, 1], [1, 1], 1)  # padding, stride, dilation, groups
    shape = [len(parts[0]), weight.shape[1], *parts[0].shape[2:]]
    their_weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, shape)
    our_weight = (winograd_weight if kernel == 3 else direct_weight)(weight)

    def ours() -> Tensor:
        if kernel == 3:
            return winograd_conv2d(parts[0], our_weight, bias, len(bias), relu=True)
        return direct_conv2d(parts, our_weight, bias, len(bias), relu=True)

    def theirs() -> Tensor:
        x = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return torch.ops.mkldnn._convolution_pointwise(x, their_weight, bias, *geometry, "relu", [], "")

    return {"ours": ours, "PyTorch": theirs}


def largest_error(result: Tensor, exact: Tensor) -> float:
    return ((result.double() - exact).abs().max() / exact.std()).item()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=11, help="timed calls of each, taken in turns")
    parser.add_argument("--output", help="path without suffix for the .md and .json")
    arguments = parser.parse_args()

    keep_freed_memory()  # for both: as this project's tools do
    torch.manual_seed(0)
    rows, data = [], {}
    for name, (kernel, batch, channels, outputs, height, width) in CASES.items():
        parts = [
            torch.randn(batch, count, height, width).relu().to(memory_format=torch.channels_last)
            for count in channels
        ]
        weight = torch.randn(outputs, sum(channels), kernel, kernel)
        weight /= (kernel**2 * sum(channels)) ** 0.5
        candidates = make_candidates(parts, weight, torch.zeros(outputs))
        x = torch.cat([part[:2] for part in parts], 1)
        exact = torch.conv2d(x.double(), weight.double(), padding=kernel // 2).relu()
        errors = [largest_error(run()[:2], exact) for run in candidates.values()]
        seconds = common.interleaved(candidates, arguments.repeats)
        median = common.medians(seconds)
        ratio = median["PyTorch"] / median["ours"]
        maps = "+".join(map(str, channels))
        times = [f"{median[who] * 1e3:.1f}" for who in candidates]
        size = f"{batch} x {maps} x {height} x {width}"
        rows.append([name, f"{kernel}x{kernel}", size, outputs, *times, f"{ratio:.2f}"])
        rows[-1] += [f"{error:.1e}" for error in errors]
        data[name] = {"median_s": median, "ratio": ratio, "errors": errors, "seconds": seconds}
    header = ["convolution", "kernel", "input", "outputs", "ours (ms)", "PyTorch (ms)", "times as fast"]
    common.report(
        "Convolutions",
        [f"Medians of {arguments.repeats} calls taken in turns; milliseconds."],
        common.table([*header, "our error", "PyTorch's error"], rows),
        {"cases": data},
        arguments.output,
    )


if __name__ == "__main__":
    main()
