"""The list of backbones: its counts against an independent counter, and the page that it writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.registry import BACKBONES
from maskrcnn_benchmark.models.listing import (
    COLUMNS,
    INPUT_HW,
    as_text,
    describe_backbone,
    describe_backbones,
)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "models.md"


def count_macs(model: nn.Module, *parts: str) -> int:
    """Multiply-adds of the convolutions within `parts`: the weights once for each pixel of the output."""
    total = 0

    def count(conv: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(conv, nn.Conv2d)
        total += output.shape[-2] * output.shape[-1] * conv.weight.numel()

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and (not parts or name.startswith(parts)):
            module.register_forward_hook(count)
    model(torch.empty(1, 3, *INPUT_HW, device="meta"))
    return total


@pytest.mark.parametrize("name", ["R-18-C5", "V-39-C5", "V2-19-dw-C5", "MobileNet-V2-C5", "VGG-11-C5"])
def test_multiply_adds_of_a_body_are_those_of_the_libraries(name: str) -> None:
    """Counted at their modules, of which ours run some in fused or split form; depthwise ones included."""
    with torch.device("meta"):
        makers = {
            "R-18-C5": torchvision.models.resnet18,
            "V-39-C5": lambda: timm.create_model("vovnet39a"),
            "V2-19-dw-C5": lambda: timm.create_model("ese_vovnet19b_dw"),
            "MobileNet-V2-C5": torchvision.models.mobilenet_v2,
            "VGG-11-C5": torchvision.models.vgg11,
        }
        theirs = makers[name]().eval()
    assert describe_backbone(name).macs == count_macs(theirs)


def test_the_pyramid_counted_by_hand() -> None:
    """A 1x1 and a 3x3 convolution to 256 channels at each of four levels."""
    pixels = [INPUT_HW[0] * INPUT_HW[1] // stride**2 for stride in (4, 8, 16, 32)]
    pyramid = sum(
        size * 256 * (channels + 9 * 256) for size, channels in zip(pixels, (64, 128, 256, 512), strict=True)
    )
    body, whole = describe_backbone("R-18-C5"), describe_backbone("R-18-FPN")
    assert whole.macs - body.macs == pyramid
    assert whole.parameters - whole.body_parameters == 256 * (64 + 128 + 256 + 512 + 4 + 4 * 9 * 256 + 4)
    assert whole.body_parameters == body.parameters == body.body_parameters


def test_what_a_row_says() -> None:
    row = dict(zip(COLUMNS, describe_backbone("R-50-C4").cells(), strict=True))
    assert row["Python"] == "resnet50_c4"
    assert (row["Strides"], row["Channels"]) == ("16", "1024")
    assert row["ImageNet"] == "MSRA/R-50"
    assert describe_backbone("V-69-C5").imagenet == ""


def test_the_page_lists_every_backbone_once() -> None:
    rows = [line.split(" | ")[0].removeprefix("| ") for line in PAGE.read_text().splitlines()]
    listed = [row for row in rows if row in BACKBONES]
    assert listed == sorted(BACKBONES)


def test_the_text_has_every_name() -> None:
    rows = describe_backbones("R-18-*")
    assert rows
    assert all(row.name in as_text(rows) for row in rows)


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    page = tmp_path / "models.md"
    command = [sys.executable, str(ROOT / "tools" / "list_models.py"), "--markdown", str(page)]
    subprocess.run(command, check=True, timeout=600)
    assert page.read_text() == PAGE.read_text(), (
        "write it anew: maskrcnn-benchmark models list --markdown docs/models.md"
    )


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    command = [sys.executable, str(ROOT / "tools" / "list_models.py"), "Z-*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "error: no backbone matches 'Z-*'" in done.stderr
