"""Time of a detector's 3x3 convolutions at inference on a CPU, float32, beside PyTorch's (oneDNN).

    python benchmarks/conv3x3.py [--output benchmarks/results/conv3x3_cpu]

Both give relu(conv(x) + bias) on channels_last maps of an 800 x 1216 image, with the filters prepared before
the clock starts: ours by Winograd's method, PyTorch's in oneDNN's blocked layout, as its compiler packs them.
The errors are the largest ones against float64, over the standard deviation of the result.
"""

from __future__ import annotations

import argparse

import common
import torch
from torch import Tensor

from maskrcnn_benchmark.layers.winograd import winograd_conv2d, winograd_weight

# what: batch, channels, outputs, height, width
CASES = {
    "FPN and RPN head, stride 4": (1, 256, 256, 200, 304),
    "FPN and RPN head, stride 8": (1, 256, 256, 100, 152),
    "FPN and RPN head, stride 64": (1, 256, 256, 13, 19),
    "mask head, 100 regions": (100, 256, 256, 14, 14),
    "ResNet stage 2": (1, 64, 64, 200, 304),
    "ResNet stage 3": (1, 128, 128, 100, 152),
    "ResNet stage 4": (1, 256, 256, 50, 76),
    "ResNet stage 5": (1, 512, 512, 25, 38),
    "V-39 stage 2": (1, 128, 128, 200, 304),
    "V-39 stage 3": (1, 160, 160, 100, 152),
    "V-39 stage 4": (1, 192, 192, 50, 76),
    "V-39 stage 5": (1, 224, 224, 25, 38),
}
GEOMETRY = ((1, 1), (1, 1), (1, 1), 1)  # padding, stride, dilation, groups


def largest_error(result: Tensor, exact: Tensor) -> float:
    return ((result.double() - exact).abs().max() / exact.std()).item()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=11, help="timed calls of each, taken in turns")
    parser.add_argument("--output", help="path without suffix for the .md and .json")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    rows, data = [], {}
    for name, (batch, channels, outputs, height, width) in CASES.items():
        x = torch.randn(batch, channels, height, width).relu().to(memory_format=torch.channels_last)
        weight, bias = torch.randn(outputs, channels, 3, 3) / (9 * channels) ** 0.5, torch.zeros(outputs)
        ours_weight = winograd_weight(weight)
        theirs_weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *GEOMETRY, list(x.shape))

        def ours(x=x, weight=ours_weight, bias=bias) -> Tensor:
            return winograd_conv2d(x, weight, bias, len(bias), relu=True)

        def theirs(x=x, weight=theirs_weight, bias=bias) -> Tensor:
            return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *GEOMETRY, "relu", [], "")

        exact = torch.conv2d(x[:2].double(), weight.double(), padding=1).relu()
        errors = [largest_error(run()[:2], exact) for run in (ours, theirs)]
        seconds = common.interleaved({"ours": ours, "PyTorch": theirs}, arguments.repeats)
        median = common.medians(seconds)
        ratio = median["PyTorch"] / median["ours"]
        times = [f"{median[who] * 1e3:.1f}" for who in ("ours", "PyTorch")]
        rows.append([name, f"{batch} x {channels} x {height} x {width}", outputs, *times, f"{ratio:.2f}"])
        rows[-1] += [f"{error:.1e}" for error in errors]
        data[name] = {"median_s": median, "ratio": ratio, "errors": errors, "seconds": seconds}
    header = ["convolution", "input", "outputs", "ours (ms)", "PyTorch (ms)", "times as fast"]
    common.report(
        "3x3 convolutions",
        [f"Medians of {arguments.repeats} calls taken in turns; milliseconds."],
        common.table([*header, "our error", "PyTorch's error"], rows),
        {"cases": data},
        arguments.output,
    )


if __name__ == "__main__":
    main()
