"""What the command lines share: help that fits a screen, config keys, a user's modules, short errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from maskrcnn_benchmark.config import ConfigNode, load_config
from maskrcnn_benchmark.utils.disk_space import DiskFullError
from maskrcnn_benchmark.utils.user_module import import_user_modules

PROGRAM = "maskrcnn-benchmark"


class WideHelp(argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, on lines of up to 100 characters."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


def named_parser(name: str, usage: str, text: str | None) -> argparse.ArgumentParser:
    """The parser of a command. usage: what follows its name. text: what it does, with an example."""
    prog = f"{PROGRAM} {name}"
    return argparse.ArgumentParser(
        prog=prog, usage=f"{prog} {usage}", description=text, formatter_class=WideHelp
    )


def add_config_keys(parser: argparse.ArgumentParser) -> None:
    """Lets config keys follow (`opts`), and modules of the user be imported (`imports`)."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import your own module, by name or as a .py file (repeatable)",
    )
    parser.add_argument("opts", nargs="*", help=argparse.SUPPRESS)


def add_local_rank(parser: argparse.ArgumentParser) -> None:
    """The option that torch.distributed.launch gives to every process."""
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; options may stand before, between and after the config keys."""
    given = sys.argv[1:] if argv is None else argv
    # argparse takes -1e-3 for an option, but nothing with a blank in it
    shielded = [f" {word}" if _is_negative_number(word) else word for word in given]
    args = parser.parse_intermixed_args(shielded)
    args.opts = [word[1:] if _is_negative_number(word[1:]) and word[0] == " " else word for word in args.opts]
    return args


def make_config(args: argparse.Namespace) -> ConfigNode:
    """The config of --config-file, the keys and --import, after the import of all modules it names."""
    cfg = load_config(args.config_file, args.opts, args.imports)
    import_user_modules(cfg.IMPORTS)
    return cfg


@contextmanager
def user_errors() -> Iterator[None]:
    """Ends the command with status 1 and one line, without a traceback, for what a user can mend.

    A reader of the output that has gone, as in `list | head`, ends it quietly.
    """
    try:
        yield
        sys.stdout.flush()
    except (ValueError, DiskFullError) as error:
        raise SystemExit(f"error: {error}") from error
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _is_negative_number(word: str) -> bool:
    if not word.startswith("-"):
        return False
    try:
        float(word)
    except ValueError:
        return False
    return True
