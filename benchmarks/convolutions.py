"""Time of the convolutions that we compute ourselves, at inference on a CPU, beside oneDNN's.

    python benchmarks/convolutions.py [--output benchmarks/results/convolutions_cpu]

All give relu(conv(x) + bias) on channels_last float32 maps of an 800 x 1216 image, with the filters prepared
before the clock starts: ours by Winograd's method (3x3 of stride 1) or directly, without a concatenation
where there are several maps; PyTorch's in oneDNN's blocked layout, as its compiler packs them, over
torch.cat. Ours once in float32 and, where the processor does, once with products of 16-bit integers. Errors
are the root of the mean square against float64, over the standard deviation of the result; PyTorch's error
in bfloat16 is beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import common
import torch
from torch import Tensor

from maskrcnn_benchmark.layers.cpu_inference.implicit_gemm import (
    Geometry,
    implicit_gemm_conv2d,
    implicit_gemm_weight,
)
from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS
from maskrcnn_benchmark.layers.cpu_inference.winograd import winograd_conv2d, winograd_weight
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory


class Case(NamedTuple):
    """A convolution with a padding that keeps the size, but for its stride."""

    kernel: int
    batch: int
    channels: Sequence[int]  # of each map
    outputs: int
    height: int
    width: int
    stride: int = 1


CASES = {
    "FPN and RPN head, stride 4": Case(3, 1, [256], 256, 200, 304),
    "FPN and RPN head, stride 8": Case(3, 1, [256], 256, 100, 152),
    "FPN and RPN head, stride 64": Case(3, 1, [256], 256, 13, 19),
    "mask head, 100 regions": Case(3, 100, [256], 256, 14, 14),
    "ResNet stage 2": Case(3, 1, [64], 64, 200, 304),
    "ResNet stage 3": Case(3, 1, [128], 128, 100, 152),
    "ResNet stage 4": Case(3, 1, [256], 256, 50, 76),
    "ResNet stage 5": Case(3, 1, [512], 512, 25, 38),
    "V-39 stage 2": Case(3, 1, [128], 128, 200, 304),
    "V-39 stage 3": Case(3, 1, [160], 160, 100, 152),
    "V-39 stage 4": Case(3, 1, [192], 192, 50, 76),
    "V-39 stage 5": Case(3, 1, [224], 224, 25, 38),
    "V-39 stage 2, aggregation": Case(1, 1, [128, *[128] * 5], 256, 200, 304),
    "V-39 stage 3, aggregation": Case(1, 1, [256, *[160] * 5], 512, 100, 152),
    "V-39 stage 4, aggregation": Case(1, 1, [768, *[192] * 5], 768, 50, 76),
    "V-39 stage 5, aggregation": Case(1, 1, [1024, *[224] * 5], 1024, 25, 38),
    "ResNet stage 2, to narrow": Case(1, 1, [256], 64, 200, 304),
    "ResNet stage 2, to wide": Case(1, 1, [64], 256, 200, 304),
    "ResNet stage 3, to narrow": Case(1, 1, [512], 128, 100, 152),
    "ResNet stage 3, to wide": Case(1, 1, [128], 512, 100, 152),
    "ResNet stage 4, to narrow": Case(1, 1, [1024], 256, 50, 76),
    "ResNet stage 4, to wide": Case(1, 1, [256], 1024, 50, 76),
    "ResNet stage 5, to narrow": Case(1, 1, [2048], 512, 25, 38),
    "ResNet stage 5, to wide": Case(1, 1, [512], 2048, 25, 38),
    "FPN, lateral, stride 4": Case(1, 1, [256], 256, 200, 304),
    "ResNet stage 3, strided": Case(3, 1, [128], 128, 200, 304, stride=2),
    "ResNet stage 4, strided": Case(3, 1, [256], 256, 100, 152, stride=2),
    "ResNet stage 5, strided": Case(3, 1, [512], 512, 50, 76, stride=2),
    "box head, fc6 (PyTorch: linear)": Case(1, 1000, [12544], 1024, 1, 1),
}


def make_candidates(
    parts: list[Tensor], weight: Tensor, bias: Tensor, stride: int
) -> dict[str, Callable[[], Tensor]]:
    """Our and PyTorch's convolutions of the parts, with what can be prepared prepared."""
    kernel, outputs = weight.shape[-1], len(bias)
    own = Geometry((kernel, kernel), (stride, stride), (kernel // 2, kernel // 2))
    geometry = ([kernel // 2] * 2, [stride] * 2, [1, 1], 1)  # padding, stride, dilation, groups
    shape = [len(parts[0]), weight.shape[1], *parts[0].shape[2:]]
    their_weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, shape)

    def theirs() -> Tensor:
        if shape[2:] == [1, 1]:
            return torch.nn.functional.linear(parts[0].flatten(1), weight.flatten(1), bias).relu_()
        x = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return torch.ops.mkldnn._convolution_pointwise(x, their_weight, bias, *geometry, "relu", [], "")

    def ours(int16: bool) -> Callable[[], Tensor]:
        if kernel == 3 and stride == 1:
            tiles = winograd_weight(weight, int16)
            return lambda: winograd_conv2d(parts[0], tiles, bias, outputs, relu=True)
        packed = implicit_gemm_weight(weight, int16)
        return lambda: implicit_gemm_conv2d(parts, packed, bias, outputs, own, relu=True)

    candidates = {"PyTorch": theirs, "ours": ours(int16=False)}
    return candidates | ({"16-bit": ours(int16=True)} if HAS_INT16_PRODUCTS else {})


def error(result: Tensor, exact: Tensor) -> float:
    return ((result.double() - exact).square().mean().sqrt() / exact.std()).item()


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Seconds, their medians and the errors of each, by name."""
    parts = [
        torch.randn(case.batch, count, case.height, case.width).relu().to(memory_format=torch.channels_last)
        for count in case.channels
    ]
    weight = torch.randn(case.outputs, sum(case.channels), case.kernel, case.kernel)
    weight /= (case.kernel**2 * sum(case.channels)) ** 0.5
    candidates = make_candidates(parts, weight, torch.zeros(case.outputs), case.stride)
    x = torch.cat([part[:2] for part in parts], 1)
    padding = case.kernel // 2
    exact = torch.conv2d(x.double(), weight.double(), None, case.stride, padding).relu()
    half = torch.conv2d(x.bfloat16(), weight.bfloat16(), None, case.stride, padding).relu()
    errors = {who: error(run()[:2].view_as(exact), exact) for who, run in candidates.items()}
    errors["PyTorch, bfloat16"] = error(half, exact)
    seconds = common.interleaved(candidates, repeats)
    return {"median_s": common.medians(seconds), "errors": errors, "seconds": seconds}


def as_row(name: str, case: Case, measured: dict[str, Any]) -> list[object]:
    """PyTorch's time, ours, how many times as fast ours are, and all errors."""
    seconds, errors = measured["median_s"], measured["errors"]
    maps = "+".join(map(str, case.channels))
    size = f"{case.batch} x {maps} x {case.height} x {case.width}"
    ratios = [f"{seconds['PyTorch'] / value:.2f}" for who, value in seconds.items() if who != "PyTorch"]
    times = [f"{value * 1e3:.1f}" for value in seconds.values()]
    kernel = f"{case.kernel}x{case.kernel}"
    return [name, kernel, size, case.outputs, *times, *ratios, *(f"{value:.0e}" for value in errors.values())]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=11, help="timed calls of each, taken in turns")
    parser.add_argument("--output", help="path without suffix for the .md and .json")
    arguments = parser.parse_args()

    keep_freed_memory()  # for both: as this project's tools do
    torch.manual_seed(0)
    data = {name: measure(case, arguments.repeats) for name, case in CASES.items()}
    names = ["PyTorch", "ours", *(["16-bit"] if HAS_INT16_PRODUCTS else [])]
    header = ["convolution", "kernel", "input", "outputs", *(f"{who} (ms)" for who in names)]
    header += [f"{who}: times as fast" for who in names[1:]]
    header += [f"{who}: error" for who in (*names, "PyTorch, bfloat16")]
    common.report(
        "Convolutions",
        [f"Medians of {arguments.repeats} calls taken in turns; milliseconds."],
        common.table(header, [as_row(name, CASES[name], measured) for name, measured in data.items()]),
        {"cases": data},
        arguments.output,
    )


if __name__ == "__main__":
    main()
