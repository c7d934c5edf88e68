"""The benchmark table of README.md is that of the recorded results, and a stale one is found."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from engine.benchmark import report_case as case

from maskrcnn_benchmark.engine.benchmark.readme_block import BEGIN, END, updated_readme
from maskrcnn_benchmark.engine.benchmark.results import save_results

ROOT = Path(__file__).parents[3]
README = f"# Title\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n"


@pytest.fixture(scope="module")
def tool() -> Callable[[list[str]], int]:
    spec = importlib.util.spec_from_file_location(
        "update_readme_table", ROOT / "tools" / "update_readme_table.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[list[str]], int] = module.main
    return main


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a README and the result of one machine."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    save_results(tmp_path / "benchmarks/results/benchmark_card.json", case.results())
    return tmp_path


def test_the_readme_of_this_project_is_fresh(tool: Callable[[list[str]], int]) -> None:
    """After a new result: python tools/update_readme_table.py."""
    assert tool(["--check"]) == 0


def test_writing_and_checking(
    project: Path, tool: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--root", str(project)]
    assert tool([*options, "--check"]) == 1
    assert "stale; run python tools/update_readme_table.py" in capsys.readouterr().out
    assert (project / "README.md").read_text(encoding="utf-8") == README, "--check writes nothing"
    assert tool(options) == 0 and tool([*options, "--check"]) == 0
    text = (project / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Title\n\nBefore.\n\n") and text.endswith("\n\nAfter.\n")
    assert "old" not in text
    newer = case.results()
    newer = replace(newer, environment=replace(newer.environment, commit="def5678"))
    save_results(project / "benchmarks/results/benchmark_card.json", newer)
    assert tool([*options, "--check"]) == 1, "a new result makes the table stale"


def test_the_block_names_machine_date_and_commit(project: Path) -> None:
    (project / "benchmarks/results/benchmark_card.md").touch()
    second = case.results((case.row("V-39"),))
    second = replace(second, environment=replace(second.environment, device="Processor", device_type="cpu"))
    save_results(project / "benchmarks/results/benchmark_processor.json", second)
    text = updated_readme(README, project)
    for words in ("Card &lt;One> & Co (cuda), 2026-11-21, commit abc1234", "Processor (cpu)", "10⁹"):
        assert words in text
    assert "[benchmark_card.md](benchmarks/results/benchmark_card.md)" in text
    assert "benchmark_processor.md" not in text, "no link to a file that is not there"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["V-39", "Faster R-CNN", "float32", "3.46 (3.9)", "1.10 (1.08)", "190 (78)"] in [
        r[:6] for r in rows
    ]
    assert ["V-57", "Mask R-CNN", "float32", "out of memory (4.5)"] in [r[:4] for r in rows]
    aps = {tuple(row[:2]): row[7:] for row in rows if len(row) == 9}
    assert aps["V-57", "Faster R-CNN"] == ["- (40.8)", "-"], "published AP stands in parentheses alone"


def test_without_results(tmp_path: Path) -> None:
    plain = "# Title\n"
    assert updated_readme(plain, tmp_path) == plain, "no markers are needed yet"
    assert "No result has been recorded yet" in updated_readme(README, tmp_path)


@pytest.mark.parametrize("text", [BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}\n{END}\n{BEGIN}\n{END}"])
def test_markers_that_are_no_pair(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="once each, in this order"):
        updated_readme(text, tmp_path)


def test_results_without_a_place(project: Path, tool: Callable[[list[str]], int]) -> None:
    (project / "README.md").write_text("# Title\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"no place for the results .*benchmark_card.json.*begin"):
        tool(["--root", str(project), "--check"])


def test_a_result_that_cannot_be_read(project: Path, tool: Callable[[list[str]], int]) -> None:
    (project / "benchmarks/results/benchmark_card.json").write_text('{"schema_version": 0}')
    with pytest.raises(SystemExit, match=r"benchmark_card.json: schema_version: 0 is not"):
        tool(["--root", str(project)])
