"""Winograd's 3x3 convolution against the direct one in float64, with each set of instructions."""

from __future__ import annotations

import pytest
import torch
from layers.instruction_sets import INSTRUCTION_SETS, run_with_instructions
from torch import Tensor, nn

from maskrcnn_benchmark.layers.conv_norm import Conv2d, fused_conv2d
from maskrcnn_benchmark.layers.cpu_inference.method import Plain
from maskrcnn_benchmark.layers.cpu_inference.winograd import (
    Winograd,
    fits_winograd,
    winograd_conv2d,
    winograd_weight,
)

pytestmark = pytest.mark.skipif(
    not fits_winograd(nn.Conv2d(16, 16, 3, padding=1)), reason="needs the compiled operators and AVX2"
)

# batch, channels, outputs, height, width: one tile, part of one, blocks with rests, more than one panel
SHAPES = [
    (1, 16, 16, 4, 4),
    (2, 32, 48, 7, 9),
    (1, 64, 80, 33, 50),
    (3, 48, 144, 14, 14),
    (1, 256, 64, 1, 61),
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


def make(batch: int, channels: int, outputs: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Input as after a ReLU, filters that keep its scale, biases."""
    x = torch.randn(batch, channels, height, width).relu().to(memory_format=torch.channels_last)
    return x, torch.randn(outputs, channels, 3, 3) / (9 * channels) ** 0.5, torch.randn(outputs)


def direct(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return nn.functional.conv2d(x, weight, bias, padding=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_agrees_with_the_direct_convolution(
    shape: tuple[int, int, int, int, int], relu: bool, with_bias: bool
) -> None:
    x, weight, bias = make(*shape)
    shift = bias if with_bias else None
    got = winograd_conv2d(x, winograd_weight(weight), shift, shape[2], relu)
    want = direct(x.double(), weight.double(), None if shift is None else shift.double())
    want = want.relu() if relu else want
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=2e-5)


def test_rounds_little_more_than_the_direct_convolution() -> None:
    x, weight, _ = make(1, 256, 256, 24, 24)
    exact = direct(x.double(), weight.double(), None)

    def error(result: Tensor) -> float:
        return (result.double() - exact).square().mean().sqrt().item()

    ours = error(winograd_conv2d(x, winograd_weight(weight), None, 256))
    one_by_one = torch.zeros_like(exact, dtype=torch.float32)  # the sum in its plain order
    columns = nn.functional.unfold(x, 3, padding=1).view(256 * 9, 24, 24)
    for column, taps in zip(columns, weight.flatten(1).T, strict=True):
        one_by_one += column * taps.view(-1, 1, 1)
    assert ours < 3 * error(one_by_one)


def test_an_image_does_not_depend_on_its_batch_or_the_threads() -> None:
    x, weight, bias = make(3, 32, 64, 30, 21)
    packed = winograd_weight(weight)
    together = winograd_conv2d(x, packed, bias, 64)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        for image, result in zip(x, together, strict=True):
            assert winograd_conv2d(image[None], packed, bias, 64)[0].equal(result)
    finally:
        torch.set_num_threads(threads)


def test_an_empty_batch_gives_an_empty_result() -> None:
    _, weight, bias = make(1, 16, 32, 4, 4)
    assert winograd_conv2d(torch.zeros(0, 16, 5, 6), winograd_weight(weight), bias, 32).shape == (0, 32, 5, 6)


def test_what_is_not_finite_stays_within_its_tiles() -> None:
    x, weight, bias = make(1, 16, 16, 24, 24)
    x[0, 3, 10, 10] = float("nan")
    got = winograd_conv2d(x, winograd_weight(weight), bias, 16, relu=True)
    want = direct(x, weight, bias).relu()
    assert got[want.isnan()].isnan().all()
    spread = got.isnan().any(1)[0].nonzero()
    assert spread.min() >= 8 and spread.max() <= 11


def test_operators_are_well_formed() -> None:
    x, weight, bias = make(1, 16, 32, 5, 6)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(
        torch.ops.maskrcnn_benchmark.winograd_weight.default, (weight, False), test_utils=tests
    )
    arguments = (x, winograd_weight(weight), bias, 32, True)
    torch.library.opcheck(torch.ops.maskrcnn_benchmark.winograd_conv2d.default, arguments, test_utils=tests)


def test_wrong_arguments_are_named() -> None:
    x, weight, bias = make(1, 16, 32, 5, 6)
    packed = winograd_weight(weight)
    run = torch.ops.maskrcnn_benchmark.winograd_conv2d
    with pytest.raises(RuntimeError, match="x must be channels_last"):
        run(x.contiguous(), packed, bias, 32, False)
    with pytest.raises(RuntimeError, match="x must be float32, got float64"):
        run(x.double(), packed, bias, 32, False)
    with pytest.raises(RuntimeError, match="packed from one of 64 outputs and 16 channels"):
        run(x, packed, bias, 64, False)
    with pytest.raises(RuntimeError, match=r"bias must have the shape \[32\], got \[31\]"):
        run(x, packed, bias[:31], 32, False)
    with pytest.raises(RuntimeError, match=r"\[K, C, 3, 3\], got \[32, 16, 1, 1\]"):
        winograd_weight(weight[:, :, :1, :1])
    with pytest.raises(RuntimeError, match="multiples of 16, got 15 in and 32 out"):
        winograd_weight(weight[:, :15])


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1, "padding": 0},
        {"stride": 2},
        {"padding": 0},
        {"dilation": 2, "padding": 2},
        {"groups": 2},
        {"in_channels": 24},
        {"out_channels": 24},
    ],
)
def test_other_convolutions_do_not_fit(options: dict[str, int]) -> None:
    arguments = {"in_channels": 32, "out_channels": 32, "kernel_size": 3, "padding": 1, **options}
    assert not fits_winograd(nn.Conv2d(**arguments))  # type: ignore[arg-type]


def test_inference_takes_it_in_float32_alone() -> None:
    conv = Conv2d(16, 32, 3, padding=1).eval()
    x = torch.randn(1, 16, 6, 7)
    with torch.no_grad():
        fused_conv2d(x, conv)
        assert conv.prepared is not None and conv.prepared.form.method == Winograd()
        conv.double()
        fused_conv2d(x.double(), conv)
        assert conv.prepared is not None and conv.prepared.form.method == Plain()


COMPARE = """
import sys, torch
from maskrcnn_benchmark.layers.cpu_inference import packed_weight, winograd
assert packed_weight.COLUMNS == int(sys.argv[1]), packed_weight.COLUMNS
if packed_weight.COLUMNS:
    x = torch.randn(2, 48, 19, 23).to(memory_format=torch.channels_last)
    weight, bias = torch.randn(80, 48, 3, 3) / 20, torch.randn(80)
    got = winograd.winograd_conv2d(x, winograd.winograd_weight(weight), bias, 80)
    want = torch.nn.functional.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=2e-5)
"""


@pytest.mark.parametrize(("capability", "columns"), [("default", 0), *INSTRUCTION_SETS])
def test_every_set_of_instructions_agrees(capability: str, columns: int) -> None:
    run_with_instructions(capability, columns, COMPARE)
