"""Write the benchmark table of README.md from the dated results in benchmarks/results.

    maskrcnn-benchmark readme-table            # after a run of maskrcnn-benchmark benchmark
    maskrcnn-benchmark readme-table --check    # changes nothing; status 1 where the table is stale

The table stands between two markers and shows the newest run of every machine. For a checkout.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_benchmark.benchmark.report.readme_block import updated_readme
from maskrcnn_benchmark.commands.command_line import named_parser
from maskrcnn_benchmark.utils.whole_file import open_whole

ROOT = Path(__file__).parents[2]


def make_parser() -> argparse.ArgumentParser:
    parser = named_parser("readme-table", "[--check] [--root FOLDER]", __doc__)
    parser.add_argument("--check", action="store_true", help="only say whether README.md is up to date")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="FOLDER", help="the project's folder")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    readme = args.root / "README.md"
    try:
        text = readme.read_text(encoding="utf-8")
        updated = updated_readme(text, args.root)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    if text == updated:
        print("README.md: the benchmark table is up to date")
        return 0
    if args.check:
        print("README.md: the benchmark table is stale; run maskrcnn-benchmark readme-table")
        return 1
    with open_whole(readme) as file:
        file.write(updated)
    print("README.md: the benchmark table is written anew")
    return 0
