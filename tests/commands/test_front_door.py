"""`maskrcnn-benchmark` and `python -m maskrcnn_benchmark`: quick help, one version, options in any place."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

import maskrcnn_benchmark
from maskrcnn_benchmark.commands.command_line import add_config_keys, named_parser, parse

NO_TORCH = """
import sys
from maskrcnn_benchmark.commands.front_door import main
try:
    main(["--help"])
except SystemExit as ended:
    assert not ended.code
heavy = {"torch", "torchvision", "cv2", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_help_does_not_wait_for_torch(tmp_path: Path) -> None:
    done = python("-c", NO_TORCH, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "maskrcnn-benchmark NAME" in done.stdout


def test_as_a_module_anywhere(tmp_path: Path) -> None:
    """The version is the package's; the old launcher's option stands before the name."""
    done = python("-m", "maskrcnn_benchmark", "--version", folder=tmp_path)
    assert done.stdout == f"maskrcnn-benchmark {maskrcnn_benchmark.__version__}\n"
    done = python(
        "-m", "maskrcnn_benchmark", "--local-rank=1", "models", "configs", "quick/*", folder=tmp_path
    )
    assert done.stdout == "quick/mask_rcnn_V_39_FPN_gn_shapes.yaml\n"
    done = python("-m", "maskrcnn_benchmark", "train", "--config-file", "vovnet/V_39.yaml", folder=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: config file 'vovnet/V_39.yaml' does not exist")


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    made = named_parser("x", "", "")
    made.add_argument("--file")
    made.add_argument("--resume", action="store_true")
    add_config_keys(made)
    return made


@pytest.mark.parametrize(
    "line",
    [
        "--file F --resume --import a --import b.py KEY -1e-3 OTHER -1",
        "KEY -1e-3 OTHER -1 --file F --resume --import a --import b.py",
        "--resume KEY -1e-3 --import a --file F OTHER -1 --import b.py",
    ],
)
def test_options_stand_before_between_and_after_the_keys(parser: argparse.ArgumentParser, line: str) -> None:
    args = parse(parser, line.split())
    assert args.opts == ["KEY", "-1e-3", "OTHER", "-1"]
    assert (args.file, args.resume, args.imports) == ("F", True, ["a", "b.py"])


def test_an_option_that_is_none_is_refused_wherever_it_stands(
    parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in ("--nope KEY 1", "KEY 1 --nope"):
        with pytest.raises(SystemExit) as caught:
            parse(parser, line.split())
        assert caught.value.code == 2
        assert "unrecognized arguments: --nope" in capsys.readouterr().err


def test_values_keep_their_blanks(parser: argparse.ArgumentParser) -> None:
    assert parse(parser, ["KEY", " 1", "OTHER", "(-1, 2)"]).opts == ["KEY", " 1", "OTHER", "(-1, 2)"]
