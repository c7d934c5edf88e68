"""The convolution over maps that are not concatenated, against the concatenation in float64."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from layers.instruction_sets import INSTRUCTION_SETS, run_with_instructions
from torch import Tensor, nn

from maskrcnn_benchmark.layers.conv_norm import Conv2d, fused_concat_conv2d
from maskrcnn_benchmark.layers.cpu_inference.implicit_gemm import (
    POINTWISE,
    Geometry,
    ImplicitGemm,
    fits_implicit_gemm,
    implicit_gemm_conv2d,
    implicit_gemm_conv2d_add_,
    implicit_gemm_weight,
)
from maskrcnn_benchmark.layers.cpu_inference.method import Plain
from maskrcnn_benchmark.layers.cpu_inference.packed_weight import COLUMNS
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d, GroupNorm

pytestmark = pytest.mark.skipif(COLUMNS == 0, reason="needs the compiled operators and AVX2")

# batch, channels of the parts, outputs, height, width: a pixel, part of a task, many tasks, a part of a panel
CASES = [
    (1, [16], 16, 1, 1),
    (2, [32, 16], 48, 5, 3),
    (1, [64, 48, 16], 80, 40, 31),
    (3, [128, 32, 32, 32], 144, 9, 11),
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(6)


def make(
    batch: int, channels: Sequence[int], outputs: int, height: int, width: int
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Parts, a weight that keeps their scale, biases."""
    parts = [
        torch.randn(batch, count, height, width).to(memory_format=torch.channels_last) for count in channels
    ]
    return parts, torch.randn(outputs, sum(channels), 1, 1) / sum(channels) ** 0.5, torch.randn(outputs)


def exact(
    parts: Sequence[Tensor], weight: Tensor, bias: Tensor | None, geometry: Geometry = POINTWISE
) -> Tensor:
    shift = None if bias is None else bias.double()
    x = torch.cat(list(parts), 1).double()
    return nn.functional.conv2d(x, weight.double(), shift, *geometry[1:])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_agrees_with_the_concatenation(
    case: tuple[int, list[int], int, int, int], relu: bool, with_bias: bool
) -> None:
    parts, weight, bias = make(*case)
    shift = bias if with_bias else None
    got = implicit_gemm_conv2d(parts, implicit_gemm_weight(weight), shift, case[2], relu=relu)
    want = exact(parts, weight, shift)
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got.double(), want.relu() if relu else want, rtol=0, atol=5e-6)


GEOMETRIES = [
    Geometry((3, 3), (2, 2), (1, 1)),
    Geometry((1, 1), (2, 2)),
    Geometry((3, 2), (1, 2), (0, 3), (2, 1)),  # y and x differ; whole rows of taps lie outside
    Geometry((5, 7), (3, 1), (2, 3)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels", [[16], [48, 32], [112]])
def test_kernels_strides_and_dilations(geometry: Geometry, channels: list[int]) -> None:
    parts, _, bias = make(2, channels, 48, 11, 9)
    weight = torch.randn(48, sum(channels), *geometry.kernel_size)
    weight /= weight[0].numel() ** 0.5
    got = implicit_gemm_conv2d(parts, implicit_gemm_weight(weight), bias, 48, geometry)
    want = exact(parts, weight, bias, geometry)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("geometry", [POINTWISE, Geometry((3, 3), (2, 2), (1, 1))])
def test_the_sum_goes_into_out(relu: bool, geometry: Geometry) -> None:
    parts, _, bias = make(2, [32, 16], 80, 7, 9)
    weight = torch.randn(80, 48, *geometry.kernel_size) / 20
    packed = implicit_gemm_weight(weight)
    out = torch.randn_like(implicit_gemm_conv2d(parts, packed, bias, 80, geometry))
    want = exact(parts, weight, bias, geometry) + out
    got = implicit_gemm_conv2d_add_(out, parts, packed, bias, geometry, relu)
    assert got is out
    torch.testing.assert_close(got.double(), want.relu() if relu else want, rtol=0, atol=1e-5)


def test_parts_in_another_layout_are_taken() -> None:
    parts, weight, bias = make(2, [32, 16], 32, 6, 7)
    packed = implicit_gemm_weight(weight)
    want = implicit_gemm_conv2d(parts, packed, bias, 32)
    assert implicit_gemm_conv2d([parts[0].contiguous(), parts[1]], packed, bias, 32).equal(want)
    halves = [parts[0][:, :16], parts[0][:, 16:], parts[1]]  # views with gaps between the pixels
    assert implicit_gemm_conv2d(halves, packed, bias, 32).equal(want)


def test_the_result_does_not_depend_on_batch_or_threads() -> None:
    parts, weight, bias = make(3, [48, 64], 96, 17, 23)
    packed = implicit_gemm_weight(weight)
    together = implicit_gemm_conv2d(parts, packed, bias, 96)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        for i in range(3):
            alone = implicit_gemm_conv2d([part[i : i + 1] for part in parts], packed, bias, 96)
            assert alone[0].equal(together[i])
    finally:
        torch.set_num_threads(threads)


def test_a_nan_stays_in_its_pixel() -> None:
    parts, weight, bias = make(1, [16, 16], 32, 8, 9)
    parts[1][0, 3, 4, 5] = float("nan")
    got = implicit_gemm_conv2d(parts, implicit_gemm_weight(weight), bias, 32, relu=True).isnan()
    assert got[0, :, 4, 5].all() and got.sum() == 32


def test_an_empty_batch_gives_an_empty_result() -> None:
    parts, weight, bias = make(0, [16, 16], 32, 5, 6)
    assert implicit_gemm_conv2d(parts, implicit_gemm_weight(weight), bias, 32).shape == (0, 32, 5, 6)


def test_operators_are_well_formed() -> None:
    parts, weight, bias = make(2, [16, 32], 48, 5, 6)
    tests = ("test_schema", "test_faketensor")
    operators = torch.ops.maskrcnn_benchmark
    torch.library.opcheck(operators.implicit_gemm_weight.default, (weight, False), test_utils=tests)
    arguments = (parts, implicit_gemm_weight(weight), bias, 48, POINTWISE.flat(), True)
    torch.library.opcheck(operators.implicit_gemm_conv2d.default, arguments, test_utils=tests)
    weight = torch.randn(48, 48, 3, 2)
    geometry = Geometry((3, 2), (2, 1), (1, 0), (1, 2))
    arguments = (parts, implicit_gemm_weight(weight), bias, 48, geometry.flat(), False)
    torch.library.opcheck(operators.implicit_gemm_conv2d.default, arguments, test_utils=tests)
    out = torch.randn(2, 48, 3, 4).to(memory_format=torch.channels_last)
    into = (out, parts, implicit_gemm_weight(weight), bias, geometry.flat(), False)
    torch.library.opcheck(operators.implicit_gemm_conv2d_add_.default, into, test_utils=tests)


def test_wrong_arguments_are_named() -> None:
    parts, weight, bias = make(1, [16, 32], 32, 5, 6)
    packed = implicit_gemm_weight(weight)
    run, flat = torch.ops.maskrcnn_benchmark.implicit_gemm_conv2d, POINTWISE.flat()
    with pytest.raises(RuntimeError, match=r"parts must be maps \[N, C, H, W\]"):
        run([], packed, bias, 32, flat, False)
    with pytest.raises(RuntimeError, match="a part must be float32, got float64"):
        run([parts[0], parts[1].double()], packed, bias, 32, flat, False)
    for other in (parts[1].contiguous(), parts[1][:, :, 1:], parts[1][:, :15]):
        with pytest.raises(
            RuntimeError, match=r"parts must be channels_last, of one size .*\[1, 16, 5, 6\] and"
        ):
            run([parts[0], other], packed, bias, 32, flat, False)
    with pytest.raises(RuntimeError, match="weight must be packed from one of 32 outputs and 16 channels"):
        run(parts[:1], packed, bias, 32, flat, False)
    with pytest.raises(RuntimeError, match="weight must be packed, got float64"):
        run(parts, packed.double(), bias, 32, flat, False)
    with pytest.raises(RuntimeError, match=r"bias must have the shape \[32\], got \[31\]"):
        run(parts, packed, bias[:31], 32, flat, False)
    with pytest.raises(RuntimeError, match="geometry must hold 8 numbers, got 7"):
        run(parts, packed, bias, 32, flat[:7], False)
    with pytest.raises(RuntimeError, match="geometry has no place for 0"):
        run(parts, packed, bias, 32, Geometry(stride=(0, 1)).flat(), False)
    with pytest.raises(RuntimeError, match="reaches over 7 pixels has no place in 5 with a padding of 0"):
        run(parts, packed, bias, 32, Geometry((7, 1)).flat(), False)
    out = torch.zeros(1, 32, 5, 6)
    with pytest.raises(RuntimeError, match="out must be channels_last and of the result's size"):
        torch.ops.maskrcnn_benchmark.implicit_gemm_conv2d_add_(out, parts, packed, bias, flat, False)
    with pytest.raises(RuntimeError, match=r"\[K, C, H, W\], got \[32, 48\]"):
        implicit_gemm_weight(weight[:, :, 0, 0])
    with pytest.raises(RuntimeError, match="multiples of 16, got 47 in and 32 out"):
        implicit_gemm_weight(weight[:, :47])


@pytest.mark.parametrize(
    "options",
    [{"groups": 2}, {"out_channels": 24}],
)
def test_other_convolutions_do_not_fit(options: dict[str, int]) -> None:
    parts = [torch.zeros(1, 16, 4, 4)] * 2
    arguments = {"in_channels": 32, "out_channels": 32, "kernel_size": 1, **options}
    assert not fits_implicit_gemm(parts, nn.Conv2d(**arguments))  # type: ignore[arg-type]
    assert not fits_implicit_gemm([torch.zeros(1, 8, 4, 4)] * 4, nn.Conv2d(32, 32, 1))
    assert fits_implicit_gemm(parts, nn.Conv2d(32, 32, 1))


@pytest.mark.parametrize("norm", [None, FrozenBatchNorm2d(32), GroupNorm(4, 32)])
def test_inference_concatenates_nothing(norm: nn.Module | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(norm, FrozenBatchNorm2d):
        norm.weight.uniform_(0.5, 2)
        norm.running_mean.normal_()
    conv = Conv2d(48, 32, 1).eval()
    parts, _, _ = make(2, [16, 32], 32, 7, 5)
    with torch.no_grad():
        out = conv(torch.cat(parts, 1))
        want = (out if norm is None else norm(out)).relu()
        monkeypatch.delattr(torch, "cat")
        got = fused_concat_conv2d(parts, conv, norm, relu=True)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert conv.prepared is not None and conv.prepared.form.method == ImplicitGemm()


def test_other_types_are_concatenated() -> None:
    conv = Conv2d(48, 32, 1).eval().double()
    parts, _, _ = make(2, [16, 32], 32, 7, 5)
    parts = [part.double() for part in parts]
    with torch.no_grad():
        got = fused_concat_conv2d(parts, conv)
        assert got.dtype == torch.float64
        torch.testing.assert_close(got, conv(torch.cat(parts, 1)))
    assert conv.prepared is not None and conv.prepared.form.method == Plain()


COMPARE = """
import sys, torch
from maskrcnn_benchmark.layers.cpu_inference import implicit_gemm, packed_weight
assert packed_weight.COLUMNS == int(sys.argv[1]), packed_weight.COLUMNS
parts = [torch.randn(2, 48, 19, 23).to(memory_format=torch.channels_last) for _ in range(2)]
weight, bias = torch.randn(80, 96, 1, 1) / 10, torch.randn(80)
got = implicit_gemm.implicit_gemm_conv2d(parts, implicit_gemm.implicit_gemm_weight(weight), bias, 80)
want = torch.nn.functional.conv2d(torch.cat(parts, 1).double(), weight.double(), bias.double())
torch.testing.assert_close(got.double(), want, rtol=0, atol=5e-6)
"""


@pytest.mark.parametrize(("capability", "columns"), INSTRUCTION_SETS)
def test_every_set_of_instructions_agrees(capability: str, columns: int) -> None:
    run_with_instructions(capability, columns, COMPARE)
