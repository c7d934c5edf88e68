"""List every backbone with parameters, multiply-adds, strides, channels and where ImageNet weights are.

python tools/list_models.py                     # all
python tools/list_models.py "V*-FPN"            # those that match
python tools/list_models.py --markdown docs/models.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from maskrcnn_benchmark.models.listing import as_markdown, as_text, describe_backbones
from maskrcnn_benchmark.utils.whole_file import open_whole

PREAMBLE = """# Models

Every backbone, as a config names it (`MODEL.BACKBONE.CONV_BODY`) and as Python does
(`maskrcnn_benchmark.models.backbones`). Each makes a Faster R-CNN and a Mask R-CNN:
`faster_rcnn(backbone="V-39-FPN", num_classes=21)`, or `faster_rcnn_vovnet39_fpn(num_classes=21)`.

Parameters and multiply-adds are those of body and neck; the multiply-adds for one image of 800 x 1344.
Channels: of every map. Frozen batch norms have no parameters. ImageNet: what `weights="ImageNet"` takes.

Written by `python tools/list_models.py --markdown docs/models.md`.

"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pattern", nargs="?", default="*", help="names to list, as a shell pattern")
    parser.add_argument("--markdown", metavar="FILE", help="write a Markdown page instead of printing")
    arguments = parser.parse_args()
    rows = describe_backbones(arguments.pattern)
    if not rows:
        raise SystemExit(f"error: no backbone matches {arguments.pattern!r}")
    if not arguments.markdown:
        print(as_text(rows), end="")
        return 0
    with open_whole(Path(arguments.markdown)) as file:
        file.write(PREAMBLE + as_markdown(rows))
    return 0
