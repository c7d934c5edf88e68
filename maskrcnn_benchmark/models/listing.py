"""Every backbone with what it costs: parameters and multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.models.builder_config import make_backbone_config
from maskrcnn_benchmark.models.builders import strides_of
from maskrcnn_benchmark.models.imagenet import imagenet_entry
from maskrcnn_benchmark.models.names import body_and_neck, list_backbones, python_name

INPUT_HW = (800, 1344)  # COCO's images at the usual size, padded to a multiple of 32
COLUMNS = ("Backbone", "Python", "Parameters", "of the body", "GMACs", "Strides", "Channels", "ImageNet")


@dataclass(frozen=True)
class ListedBackbone:
    """One backbone: body and neck."""

    name: str
    parameters: int  # of body and neck
    body_parameters: int
    macs: int  # multiply-adds of one image of INPUT_HW
    strides: tuple[int, ...]
    out_channels: int
    imagenet: str  # the catalogue's name of its ImageNet weights; "" where none are published

    def cells(self) -> tuple[str, ...]:
        """The row of a table, under COLUMNS."""
        return (
            self.name,
            python_name(self.name),
            f"{self.parameters:,}",
            f"{self.body_parameters:,}",
            f"{self.macs / 1e9:.1f}",
            ", ".join(map(str, self.strides)),
            str(self.out_channels),
            self.imagenet or "-",
        )


def describe_backbone(name: str) -> ListedBackbone:
    """Builds the backbone without memory (on the meta device) and counts.

    Raises:
        ValueError: unknown name, with the nearest ones.
    """
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        backbone = build_backbone(make_backbone_config(name, {})).eval()
        backbone(torch.empty(1, 3, *INPUT_HW))
    body = backbone.get_submodule("body")
    weights = imagenet_entry(body_and_neck(name)[0])
    return ListedBackbone(
        name=name,
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        body_parameters=sum(parameter.numel() for parameter in body.parameters()),
        macs=counter.get_total_flops() // 2,  # the counter takes a multiply-add for two operations
        strides=strides_of(backbone),
        out_channels=int(backbone.out_channels),  # type: ignore[arg-type]
        imagenet="" if weights is None else weights.name.removeprefix("ImageNetPretrained/"),
    )


def describe_backbones(pattern: str = "*") -> list[ListedBackbone]:
    """Every backbone whose name matches a shell pattern, sorted by name."""
    return [describe_backbone(name) for name in list_backbones(pattern)]


def as_markdown(rows: Sequence[ListedBackbone]) -> str:
    """A Markdown table."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def as_text(rows: Sequence[ListedBackbone]) -> str:
    """Columns of even width, for a screen."""
    table = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(COLUMNS))]
    padded = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table
    ]
    return "\n".join(line.rstrip() for line in padded) + "\n"
