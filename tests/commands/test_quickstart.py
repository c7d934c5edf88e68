"""The steps of `quickstart`: command lines that the commands take, in order, and what it says at the end.

The steps themselves are only noted here; `make quickstart` runs them.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from scripts import run_command

from maskrcnn_benchmark.commands import front_door, quickstart
from maskrcnn_benchmark.commands.command_line import parse

ROW = "| V-39-FPN-GN | Mask R-CNN |"


class Done:
    """A process that has ended well."""

    returncode = 0

    def poll(self) -> int:
        return 0

    def wait(self) -> int:
        return 0


@pytest.mark.parametrize("keys", [[], ["SOLVER.MAX_ITER", "4", "SOLVER.STEPS", "()"]])
def test_steps(
    keys: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[list[str]] = []

    def note(step: str, command: list[str]) -> Done:
        lines.append(command)
        if step == "Testing":
            folder = Path(command[command.index("OUTPUT_DIR") + 1])
            folder.mkdir(parents=True)
            (folder / "report.md").write_text(f"# Report\n\n| a | b |\n|---|---|\n{ROW}\n| more | rows |\n")
        return Done()

    monkeypatch.setattr(quickstart, "start", note)
    monkeypatch.chdir(tmp_path)
    assert run_command("quickstart", *keys) == 0
    assert lines[0][:2] == ["-m", "maskrcnn_benchmark.data.datasets.shapes"]
    taken = []
    for line in lines[1:]:
        assert line[:2] == ["-m", "maskrcnn_benchmark"]
        module, _ = front_door.COMMANDS[line[2]]
        parser = importlib.import_module(f"maskrcnn_benchmark.commands.{module}").make_parser()
        taken.append((line[2], parse(parser, line[3:])))
    assert [name for name, _ in taken] == ["train", "train", "test"]
    assert [args.resume for name, args in taken if name == "train"] == [False, True]
    for _, args in taken:
        assert args.opts[: len(keys)] == keys
        assert args.config_file == quickstart.CONFIG
    assert ("TEST.EXPECTED_RESULTS" in taken[2][1].opts) == (not keys)
    said = capsys.readouterr().out
    assert ROW in said
    assert "| more | rows |" not in said
    assert str(next((tmp_path / "output" / "quickstart").iterdir()) / "report.md") in said


def test_a_step_that_fails_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart, "start", lambda step, command: Failed())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="quickstart: Drawing the data failed with status 3"):
        run_command("quickstart")


class Failed(Done):
    returncode = 3

    def wait(self) -> int:
        return 3
