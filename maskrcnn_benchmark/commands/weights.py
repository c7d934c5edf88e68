"""List, fetch, inspect, convert, publish and compare files of weights.

    maskrcnn-benchmark weights list                        the catalogue of published weights
    maskrcnn-benchmark weights fetch NAME                  download one of them; prints its path
    maskrcnn-benchmark weights inspect FILE                what a file is
    maskrcnn-benchmark weights convert SRC DST [--as BODY]  another project's weights, renamed
    maskrcnn-benchmark weights strip SRC DST               a checkpoint as one file to publish
    maskrcnn-benchmark weights diff A B                    how two files differ

SRC, FILE, A and B are paths, or catalog://, https:// or hf:// names. DST is a .safetensors file.
Exit status: 0; 1 an error, or files that differ.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maskrcnn_benchmark.commands.command_line import PROGRAM, WideHelp, named_parser, user_errors
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.weights.classes import with_background
from maskrcnn_benchmark.weights.compare_files import difference
from maskrcnn_benchmark.weights.convert_file import rewrite
from maskrcnn_benchmark.weights.inspect_file import inspect
from maskrcnn_benchmark.weights.load_checks import check_finite
from maskrcnn_benchmark.weights.provenance import provenance_of
from maskrcnn_benchmark.weights.publish import SUFFIX, publish_from, save_publishable
from maskrcnn_benchmark.weights.sources.catalogue import CATALOG, entries
from maskrcnn_benchmark.weights.sources.read import read_weights
from maskrcnn_benchmark.weights.sources.resolve import cached, read_named, resolve_weights
from maskrcnn_benchmark.weights.unwrap import unwrap

# Of each command: the line of the list, and an example of use.
EXAMPLES = {
    "list": ("the catalogue of published weights", "list"),
    "fetch": (
        "download a catalogue entry, and print its path",
        "fetch ImageNetPretrained/pytorchcv/vovnet39",
    ),
    "inspect": ("what a file is", "inspect model_final.pth"),
    "convert": (
        "another project's weights under this project's names",
        "convert vovnet39.pth V-39.safetensors --as V-39",
    ),
    "strip": (
        "a checkpoint as one file to publish",
        "strip model_final.pth mine.safetensors",
    ),
    "diff": ("how two files differ", "diff before.pth after.pth"),
}
SOURCE = "a path, or a catalog://, https:// or hf:// name"


def make_parser() -> argparse.ArgumentParser:
    parser = named_parser("weights", "COMMAND ...", __doc__)
    commands = parser.add_subparsers(
        prog=f"{PROGRAM} weights", dest="command", required=True, metavar="COMMAND", help=argparse.SUPPRESS
    )
    for name, (summary, example) in EXAMPLES.items():
        text = f"{summary[0].upper()}{summary[1:]}.\n\n    {PROGRAM} weights {example}"
        commands.add_parser(name, help=summary, description=text, formatter_class=WideHelp)
    choices = commands.choices
    choices["fetch"].add_argument("name", metavar="NAME", help="of the list, with or without catalog://")
    choices["inspect"].add_argument("file", metavar="FILE", help=SOURCE)
    for name in ("convert", "strip"):
        choices[name].add_argument("src", metavar="SRC", help=SOURCE)
        choices[name].add_argument("dst", metavar="DST", help=f"a {SUFFIX} file")
    choices["convert"].add_argument(
        "--as", dest="body", default="", metavar="BODY", help="refuse any other body"
    )
    _add_strip_options(choices["strip"])
    choices["diff"].add_argument("first", metavar="A", help=SOURCE)
    choices["diff"].add_argument("second", metavar="B", help=SOURCE)
    return parser


def _add_strip_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", default="", metavar="FILE", help="config, where SRC holds none")
    parser.add_argument(
        "--classes", default="", metavar="FILE", help="json list of class names, label 1 first"
    )


def show_catalogue() -> None:
    for entry in entries():
        ap = [
            f"{kind} AP {value}" for kind, value in (("box", entry.box_ap), ("mask", entry.mask_ap)) if value
        ]
        top1 = [f"top-1 {entry.top1}"] if entry.top1 else []
        where = "in the cache" if cached(entry) else f"link {entry.link}"
        facts = [entry.row or f"{entry.body} ImageNet", *ap, *top1, entry.licence or "licence unknown", where]
        print(f"{entry.name:<52} {'; '.join(facts)}")


def fetch(name: str) -> None:
    print(resolve_weights(name if "://" in name else CATALOG + name))


def convert(src: str, dst: str, body: str) -> None:
    found = rewrite(read_named(src), body)
    save_publishable(dst, found.state, class_names=found.class_names, requires=found.requires)
    print(f"{dst}: {found.source}, {len(found.state)} tensors")
    print(f"left out: {', '.join(found.dropped) or 'nothing'}")
    for text in (*found.notes, *(f"needs {key} {value}" for key, value in found.requires)):
        print(text)


def strip(src: str, dst: str, config_file: str, classes: str) -> None:
    raw = read_named(src)
    provenance = provenance_of(raw)
    if config_file:
        provenance = replace(provenance, config=load_config(config_file).dump())
    if classes:
        names = with_background(json.loads(Path(classes).read_text(encoding="utf-8")))
        provenance = replace(provenance, class_names=names)
    state = unwrap(raw).state
    check_finite(state, f"weights of {raw.path}")
    publish_from(dst, state, provenance)
    print(inspect(read_weights(dst)))


def diff(first: str, second: str) -> int:
    states = [unwrap(read_named(name)).state for name in (first, second)]
    found = difference(*states)
    print(found)
    return int(not found.is_none)


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    with user_errors():
        if args.command in ("convert", "strip") and not args.dst.endswith(SUFFIX):
            raise ValueError(f"DST {args.dst!r}: the file to write is called *{SUFFIX}")
        match args.command:
            case "list":
                show_catalogue()
            case "fetch":
                fetch(args.name)
            case "inspect":
                print(inspect(read_named(args.file)))
            case "convert":
                convert(args.src, args.dst, args.body)
            case "strip":
                strip(args.src, args.dst, args.config_file, args.classes)
            case "diff":
                return diff(args.first, args.second)
    return 0
