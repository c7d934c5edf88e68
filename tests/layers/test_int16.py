"""Products of 16-bit integers against their definition in float64, and beside bfloat16."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from layers.instruction_sets import INSTRUCTION_SETS, run_with_instructions
from torch import Tensor, nn

from maskrcnn_benchmark.layers.cpu_inference.implicit_gemm import (
    Geometry,
    implicit_gemm_conv2d,
    implicit_gemm_weight,
)
from maskrcnn_benchmark.layers.cpu_inference.int16 import HAS_INT16_PRODUCTS
from maskrcnn_benchmark.layers.cpu_inference.winograd import winograd_conv2d, winograd_weight

pytestmark = pytest.mark.skipif(
    not HAS_INT16_PRODUCTS, reason="needs the compiled operators and AVX-512 VNNI"
)

GROUP = 256  # channels with one scale


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(8)


def by_definition(x: Tensor, weight: Tensor) -> Tensor:
    """x [M, C] times weight [K, C], both rounded group by group as csrc/cpu/int16_kernels.cpp says."""
    total = torch.zeros(len(x), len(weight), dtype=torch.float64)
    for values, weights in zip(x.split(GROUP, 1), weight.split(GROUP, 1), strict=True):
        largest = values.abs().amax(1, keepdim=True).clamp(min=1e-30)  # of zeros around an image
        in_integers = (values * torch.full_like(largest, 8191).div(largest)).round().double()
        sum_of_weights = torch.zeros(len(weights), 1)
        for column in weights.abs().split(1, 1):  # in this order, so that its rounding is the same
            sum_of_weights += column
        scale = torch.maximum(weights.abs().amax(1, keepdim=True) / 32767, sum_of_weights / (262143 - 160))
        sums = in_integers @ (weights * (1 / scale)).round().double().T
        assert sums.abs().max() < 2**31
        total += sums * ((largest / 8191) @ scale.T).double()
    return total


def rows_of(x: Tensor, geometry: Geometry) -> Tensor:
    """The row of every output pixel of one image: tap by tap, all channels."""
    size, stride, padding, dilation = geometry
    columns = nn.functional.unfold(x, size, dilation, padding, stride)
    taps = size[0] * size[1]
    return columns[0].view(x.shape[1], taps, -1).permute(2, 1, 0).flatten(1)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x [M, C] times weight [K, C] by the kernel."""
    packed = implicit_gemm_weight(weight[:, :, None, None], int16=True)
    return implicit_gemm_conv2d([x[:, :, None, None]], packed, None, len(weight)).flatten(1)


# rows, channels, outputs: less than a group, whole ones, one and a rest, more than a round
@pytest.mark.parametrize(
    ("rows", "channels", "outputs"),
    [(1, 16, 16), (5, 48, 80), (29, 256, 32), (60, 272, 96), (200, 512, 64), (70, 2320, 48), (3, 4352, 144)],
)
def test_is_what_it_is_defined_as(rows: int, channels: int, outputs: int) -> None:
    x = torch.randn(rows, channels) * torch.randn(rows, 1).exp()
    weight = torch.randn(outputs, channels) * torch.randn(outputs, 1).exp()
    got, want = product(x, weight).double(), by_definition(x, weight)
    size = by_definition(x.abs(), weight.abs())
    assert ((got - want).abs() <= 1e-6 * size).all()


@pytest.mark.parametrize("channels", [[48, 32], [160, 96], [256, 16]])
def test_groups_go_across_taps_and_parts(channels: list[int]) -> None:
    parts = [torch.randn(1, count, 9, 7).to(memory_format=torch.channels_last) for count in channels]
    weight = torch.randn(48, sum(channels), 3, 3)
    geometry = Geometry((3, 3), (2, 1), (1, 1))
    got = implicit_gemm_conv2d(parts, implicit_gemm_weight(weight, int16=True), None, 48, geometry)
    rows, filters = rows_of(torch.cat(parts, 1), geometry), weight.permute(0, 2, 3, 1).flatten(1)
    want, size = by_definition(rows, filters), by_definition(rows.abs(), filters.abs())
    assert ((got[0].flatten(1).T.double() - want).abs() <= 1e-6 * size).all()


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("most", [262143 - 160, 262143])  # the second would overflow if rounding had no room
def test_rounding_does_not_push_sums_over(sign: float, most: int) -> None:
    weight = torch.full((32, 256), sign * 1023.51)  # rounded up, if the group's sum is scaled to `most`
    weight[:, 77] = sign * (most - 255 * 1023.51)
    x = torch.ones(14, 256)
    torch.testing.assert_close(product(x, weight), x @ weight.T, rtol=1e-3, atol=0)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("channels", [16, 256, 2048])
def test_the_largest_sums_do_not_overflow(sign: float, channels: int) -> None:
    x = torch.full((20, channels), 3.7)
    for weight in (torch.full((32, channels), sign * 0.61), sign * torch.rand(32, channels)):
        torch.testing.assert_close(product(x, weight), x @ weight.T, rtol=1e-3, atol=0)


def test_more_exact_than_bfloat16() -> None:
    scales = torch.rand(1, 512, 1, 1).mul(4).exp()  # channels of different size
    x = (torch.randn(1, 512, 20, 24).relu() * scales).to(memory_format=torch.channels_last)

    def error(got: Tensor, want: Tensor) -> float:
        return ((got.double() - want).square().mean().sqrt() / want.std()).item()

    for kernel in (1, 3):
        weight = torch.randn(96, 512, kernel, kernel)
        want = nn.functional.conv2d(x.double(), weight.double(), padding=kernel // 2)
        half = nn.functional.conv2d(x.bfloat16(), weight.bfloat16(), padding=kernel // 2)
        geometry = Geometry((kernel, kernel), padding=(kernel // 2, kernel // 2))
        gemm = implicit_gemm_conv2d([x], implicit_gemm_weight(weight, int16=True), None, 96, geometry)
        assert error(gemm, want) < 0.25 * error(half, want)
        if kernel == 3:
            winograd = winograd_conv2d(x, winograd_weight(weight, int16=True), None, 96)
            assert error(winograd, want) < 0.6 * error(half, want)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_in_its_row_or_column(bad: float) -> None:
    x, weight = torch.randn(40, 512), torch.randn(64, 512)
    spoilt = x.clone()
    spoilt[7, 300] = bad
    got = product(spoilt, weight)
    assert got[7].isnan().all() and got.isnan().sum() == 64
    spoilt = weight.clone()
    spoilt[9, 2] = bad
    got = product(x, spoilt)
    assert got[:, 9].isnan().all() and got.isnan().sum() == 40


def test_a_nan_stays_within_its_tile() -> None:
    x, weight = torch.randn(1, 16, 24, 24).to(memory_format=torch.channels_last), torch.randn(32, 16, 3, 3)
    x[0, 3, 10, 10] = float("nan")
    spread = winograd_conv2d(x, winograd_weight(weight, int16=True), None, 32).isnan().any(1)[0].nonzero()
    assert spread.min() >= 8 and spread.max() <= 11 and len(spread) >= 9


def test_zeros_and_very_small_values_are_zeros() -> None:
    x, weight = torch.randn(6, 32), torch.randn(32, 32)
    x[2], x[3], weight[5], weight[6] = 0.0, 1e-38, 0.0, 1e-38
    got = product(x, weight)
    assert not got[2].any() and not got[3].any() and not got[:, 5].any() and not got[:, 6].any()
    assert got[0, :5].all()


def test_the_result_does_not_depend_on_batch_or_threads() -> None:
    x = torch.randn(3, 48, 17, 23).to(memory_format=torch.channels_last)
    weight = torch.randn(96, 48, 3, 3)
    packed, tiles = implicit_gemm_weight(weight, int16=True), winograd_weight(weight, int16=True)
    geometry = Geometry((3, 3), padding=(1, 1))
    runs: list[Callable[[Tensor], Tensor]] = [
        lambda maps: implicit_gemm_conv2d([maps], packed, None, 96, geometry),
        lambda maps: winograd_conv2d(maps, tiles, None, 96),
    ]
    together = [run(x) for run in runs]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        for run, whole in zip(runs, together, strict=True):
            for image, result in zip(x, whole, strict=True):
                assert run(image[None])[0].equal(result)
    finally:
        torch.set_num_threads(threads)


def test_operators_are_well_formed() -> None:
    x, weight = torch.randn(1, 16, 5, 6).to(memory_format=torch.channels_last), torch.randn(48, 16, 3, 3)
    operators = torch.ops.maskrcnn_benchmark
    tests = ("test_schema", "test_faketensor")
    for pack in (operators.winograd_weight.default, operators.implicit_gemm_weight.default):
        torch.library.opcheck(pack, (weight, True), test_utils=tests)
    arguments = (x, winograd_weight(weight, int16=True), None, 48, True)
    torch.library.opcheck(operators.winograd_conv2d.default, arguments, test_utils=tests)
    packed, flat = implicit_gemm_weight(weight, int16=True), Geometry((3, 3)).flat()
    arguments = ([x], packed, None, 48, flat, True)
    torch.library.opcheck(operators.implicit_gemm_conv2d.default, arguments, test_utils=tests)
    out = torch.zeros(1, 48, 3, 4).to(memory_format=torch.channels_last)
    into = (out, [x], packed, None, flat, True)
    torch.library.opcheck(operators.implicit_gemm_conv2d_add_.default, into, test_utils=tests)


ASK = """
import sys
from maskrcnn_benchmark.layers.cpu_inference import int16, packed_weight
assert packed_weight.COLUMNS == int(sys.argv[1]), packed_weight.COLUMNS
assert int16.HAS_INT16_PRODUCTS == (packed_weight.COLUMNS == 32)
"""


@pytest.mark.parametrize(("capability", "columns"), [("default", 0), *INSTRUCTION_SETS])
def test_other_sets_of_instructions_do_without(capability: str, columns: int) -> None:
    run_with_instructions(capability, columns, ASK)
