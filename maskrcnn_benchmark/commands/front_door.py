"""`maskrcnn-benchmark NAME ...`: finds the command of this name and runs it."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from maskrcnn_benchmark import __version__
from maskrcnn_benchmark.commands.command_line import PROGRAM, WideHelp

# name: (module in this folder, what it does). A new command is its file, with `main(argv)`, and its line
# here. A module is imported when it is used, so that help comes at once.
COMMANDS = {
    "train": ("train", "train a detector, test it, write the report of the run"),
    "test": ("test", "test a detector on every dataset of DATASETS.TEST"),
    "benchmark": ("benchmark", "measure memory, speed and AP of detectors: the result table"),
    "weights": ("weights", "list, fetch, inspect, convert, strip and diff files of weights"),
    "pretrain": ("pretrain", "train a body as a classifier, for a detector to start from"),
    "models": ("models", "list the backbones, or the configs"),
    "quickstart": ("quickstart", "train, stop, resume and test a detector on embedded data"),
    "env": ("env", "what is installed and whether it fits this machine"),
    "readme-table": ("readme_table", "write the table of README.md from recorded results (in a checkout)"),
}


def make_parser() -> argparse.ArgumentParser:
    """The parser of everything up to the command's name."""
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} NAME [OPTIONS]",
        description=f"Detectors around VoVNet and ResNet bodies.\n\n{listing}",
        epilog=f"example: {PROGRAM} train --help     # the options of a command, with an example",
        formatter_class=WideHelp,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    # torch.distributed.launch puts it before the name; the environment says the same
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("name", choices=list(COMMANDS), metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that `argv` (without it, the command line) names; its exit status."""
    args = make_parser().parse_args(argv)
    module, _ = COMMANDS[args.name]
    status: int = importlib.import_module(f"maskrcnn_benchmark.commands.{module}").main(args.rest)
    return status
