"""Show what is installed, what the operators were built for, and whether it fits this machine.

example: maskrcnn-benchmark env > env.txt     # for a bug report
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from maskrcnn_benchmark.commands.command_line import named_parser, user_errors
from maskrcnn_benchmark.utils import collect_env


def make_parser() -> argparse.ArgumentParser:
    return named_parser("env", "[--help]", __doc__)


def main(argv: Sequence[str] | None = None) -> int:
    make_parser().parse_args(argv)
    with user_errors():
        collect_env.main()
    return 0
