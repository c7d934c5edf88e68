"""The command line as users and their scripts know it: commands, options, exit codes.

A change of these tables is a change of what users type: add to them freely, take nothing away.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest
from scripts import TOOLS, run_command

from maskrcnn_benchmark.commands.front_door import COMMANDS

OPTIONS: dict[str, str] = {
    "train": "--config-file --import --local-rank --local_rank --replay --resume --skip-test opts",
    "test": "--ckpt --config-file --import --local-rank --local_rank opts",
    "benchmark": (
        "--batch-sizes --compare --configs --dataset --device --dtypes --images --memory-breakdown "
        "--output-dir --peers --quick --resume --steps --weights-dir"
    ),
    "weights": "command",
    "weights list": "",
    "weights fetch": "name",
    "weights inspect": "file",
    "weights convert": "--as dst src",
    "weights strip": "--classes --config-file dst src",
    "weights diff": "first second",
    "pretrain": "--batch-size --body --config-file --crop-size --data --epochs --import --resume opts",
    "models": "--markdown pattern what",
    "quickstart": "opts",
    "env": "",
    "readme-table": "--check --root",
}
# command line: exit status, and the start of what is said. 2 is argparse's, for a command line of no sense.
STATUS: dict[str, tuple[int, str]] = {
    "--version": (0, "maskrcnn-benchmark "),
    "--help": (0, "usage: maskrcnn-benchmark NAME"),
    "": (2, "usage: maskrcnn-benchmark NAME"),
    "nothing": (2, "usage: maskrcnn-benchmark NAME"),
    "train": (2, "usage: maskrcnn-benchmark train"),
    "train --config-file FILE --nothing": (2, "usage: maskrcnn-benchmark train"),
    "train --config-file /no/such/file.yaml": (1, "error: config file '/no/such/file.yaml' does not exist"),
    "train --config-file vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml SEED": (
        1,
        "error: command line: ",
    ),
    "train --import nowhere.py --config-file vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml": (
        1,
        "error: IMPORTS = 'nowhere.py': there is no such file",
    ),
    "test": (1, "error: no weights to test"),
    "test MODEL.WEIGHT /no/such/w.pth": (1, "error: weights file '/no/such/w.pth' does not exist"),
    "benchmark --steps many": (2, "usage: maskrcnn-benchmark benchmark"),
    "benchmark --configs nothing": (1, "error: --configs 'nothing' is neither"),
    "weights": (2, "usage: maskrcnn-benchmark weights"),
    "weights list": (0, "ImageNetPretrained/"),
    "weights inspect /no/such/w.pth": (1, "error: weights file '/no/such/w.pth' does not exist"),
    "pretrain --body V-39": (2, "usage: maskrcnn-benchmark pretrain"),
    "pretrain --data . --body V-39 --epochs 0": (2, "usage: maskrcnn-benchmark pretrain"),
    "models": (2, "usage: maskrcnn-benchmark models"),
    "models list Z-*": (1, "error: no backbone matches 'Z-*'"),
    "models configs vovnet/*": (0, "vovnet/e2e_faster_rcnn_V_39_FPN_2x.yaml"),
    "models configs nothing": (1, "error: no config matches 'nothing'"),
    "quickstart SEED": (1, "error: command line: "),
    "env": (0, "system "),
    "readme-table --root /no/such/folder": (1, "error: "),
}
# What tools/ holds, and the command that it starts.
SCRIPTS = {
    "benchmark.py": "benchmark",
    "list_models.py": "models",
    "pretrain_backbone.py": "pretrain",
    "quickstart.py": "quickstart",
    "test_net.py": "test",
    "train_net.py": "train",
    "update_readme_table.py": "readme-table",
    "weights.py": "weights",
}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of every command, and of the commands that it has in turn."""
    found: dict[str, argparse.ArgumentParser] = {}
    for name, (module, _) in COMMANDS.items():
        found[name] = importlib.import_module(f"maskrcnn_benchmark.commands.{module}").make_parser()
        for action in found[name]._actions:
            if isinstance(action, argparse._SubParsersAction):
                found |= {f"{name} {each}": parser for each, parser in action.choices.items()}
    return found


def test_commands_and_their_options() -> None:
    options = {
        name: " ".join(
            sorted(
                option
                for action in parser._actions
                if not isinstance(action, argparse._HelpAction)
                for option in action.option_strings or [action.dest]
            )
        )
        for name, parser in parsers().items()
    }
    assert options == OPTIONS


@pytest.mark.parametrize("line", STATUS, ids=lambda line: line or "nothing given")
def test_exit_status(
    line: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, said = STATUS[line]
    try:
        found: object = run_command(*line.split())
    except SystemExit as ended:
        found = ended.code
    output = "".join(capfd.readouterr())
    if isinstance(found, str):  # Python prints it and ends with status 1
        found, output = 1, found
    assert found == status, output
    assert output.startswith(said), output
    if status == 1:
        assert "\n" not in output.strip(), "one line"
    assert not list(tmp_path.iterdir())


def test_scripts_of_old_start_the_commands() -> None:
    for path in sorted(TOOLS.glob("*.py")):
        module, _ = COMMANDS[SCRIPTS[path.name]]
        code = path.read_text(encoding="utf-8")
        assert f"from maskrcnn_benchmark.commands.{module} import main\n" in code
        assert len([line for line in code.splitlines() if line and not line.startswith('"""')]) <= 4
    assert set(SCRIPTS) == {path.name for path in TOOLS.glob("*.py")}


@pytest.mark.parametrize("name", ["", *OPTIONS])
def test_help_fits_a_screen_and_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(*name.split(), "--help")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: maskrcnn-benchmark {name}".strip())
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert any(f"maskrcnn-benchmark {name}".strip() in line for line in lines[1:])


@pytest.mark.parametrize("name", [name for name in OPTIONS if " " in name])
def test_subcommand_explains_its_arguments_and_takes_its_example(name: str) -> None:
    parser = parsers()[name]
    assert all(action.help for action in parser._actions)
    (example,) = re.findall(rf"    maskrcnn-benchmark {name}(.*)", parser.description or "")
    parser.parse_args(shlex.split(example))
