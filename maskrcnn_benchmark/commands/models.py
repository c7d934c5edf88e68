"""List the backbones, or the configs that come with the package.

    maskrcnn-benchmark models list                              # every backbone
    maskrcnn-benchmark models list "V*-FPN"                     # those that match
    maskrcnn-benchmark models list --markdown docs/models.md    # the same as a page
    maskrcnn-benchmark models configs                           # what --config-file finds

A backbone comes with parameters, multiply-adds, strides, channels, and its ImageNet weights.
Exit status: 0; 1 nothing matches.
"""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.commands.command_line import named_parser, user_errors
from maskrcnn_benchmark.config.files import list_configs
from maskrcnn_benchmark.models.listing import as_markdown, as_text, describe_backbones
from maskrcnn_benchmark.utils.whole_file import open_whole

PREAMBLE = """# Models

Every backbone, as a config names it (`MODEL.BACKBONE.CONV_BODY`) and as Python does
(`maskrcnn_benchmark.models.backbones`). Each makes a Faster R-CNN and a Mask R-CNN:
`faster_rcnn(backbone="V-39-FPN", num_classes=21)`, or `faster_rcnn_vovnet39_fpn(num_classes=21)`.

Parameters and multiply-adds are those of body and neck; the multiply-adds for one image of 800 x 1344.
Channels: of every map. Frozen batch norms have no parameters. ImageNet: what `weights="ImageNet"` takes.

Written by `maskrcnn-benchmark models list --markdown docs/models.md`.

"""


def make_parser() -> argparse.ArgumentParser:
    parser = named_parser("models", "list|configs [PATTERN] [--markdown FILE]", __doc__)
    parser.add_argument("what", choices=["list", "configs"], help="of backbones, or of configs")
    parser.add_argument("pattern", nargs="?", default="*", help="names to list, as a shell pattern")
    parser.add_argument("--markdown", metavar="FILE", help="write a Markdown page instead of printing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.what == "configs" and args.markdown:
        parser.error("--markdown is for models list")
    with user_errors():
        if args.what == "configs":
            print(list_of_configs(args.pattern), end="")
        else:
            print(list_of_backbones(args.pattern, args.markdown), end="")
    return 0


def list_of_configs(pattern: str) -> str:
    """The packaged configs whose names match, one a line; ValueError where none does."""
    found = fnmatch.filter(list_configs(), pattern)
    if not found:
        raise ValueError(f"no config matches {pattern!r}")
    return "".join(f"{name}\n" for name in found)


def list_of_backbones(pattern: str, markdown: str | None) -> str:
    """The backbones whose names match, as a table to print; with `markdown`, written to that file instead."""
    rows = describe_backbones(pattern)
    if not rows:
        raise ValueError(f"no backbone matches {pattern!r}")
    if markdown is None:
        return as_text(rows)
    with open_whole(Path(markdown)) as file:
        file.write(PREAMBLE + as_markdown(rows))
    return ""
