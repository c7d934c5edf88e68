"""The benchmark table of README.md is that of the recorded results, and a stale one is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmark import report_case as case
from scripts import TOOLS, run_script

from maskrcnn_benchmark.benchmark.report.readme_block import BEGIN, END, newest_runs, updated_readme
from maskrcnn_benchmark.benchmark.results import Results, save_results

SCRIPT = TOOLS / "update_readme_table.py"
README = f"# Title\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a README and the result of one machine."""
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    record(tmp_path, "2026-11-21_cuda", case.results())
    return tmp_path


def record(project: Path, name: str, results: Results) -> Path:
    """A run's folder, as `maskrcnn-benchmark benchmark` leaves it."""
    folder = project / "benchmarks" / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    save_results(folder / "results.json", results)
    return folder


def of(device: str = "Card Two", date: str = "2026-11-22", quick: bool = False) -> Results:
    """A run of one row on some machine."""
    whole = case.results((case.row("V-39"),))
    environment = replace(whole.environment, device=device, date=date, commit=f"c{date[-2:]}")
    return replace(whole, environment=environment, settings=replace(whole.settings, quick=quick))


def test_the_readme_of_this_project_is_fresh() -> None:
    """After a new result: maskrcnn-benchmark readme-table."""
    assert run_script(SCRIPT, "--check") == 0


def test_writing_and_checking(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--root", project)
    assert run_script(SCRIPT, *options, "--check") == 1
    assert "stale; run maskrcnn-benchmark readme-table" in capsys.readouterr().out
    assert (project / "README.md").read_text(encoding="utf-8") == README, "--check writes nothing"
    assert run_script(SCRIPT, *options) == 0 and run_script(SCRIPT, *options, "--check") == 0
    text = (project / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Title\n\nBefore.\n\n") and text.endswith("\n\nAfter.\n")
    assert "old" not in text
    record(project, "2026-11-22_cuda", of())
    assert run_script(SCRIPT, *options, "--check") == 1, "a new result makes the table stale"


def test_the_block_names_machine_date_and_commit(project: Path) -> None:
    (record(project, "2026-11-22_cpu", of("Processor")) / "table.md").touch()
    text = updated_readme(README, project)
    for words in (
        "Card &lt;One> & Co (cuda), 2026-11-21, commit abc1234",
        "Processor (cuda), 2026-11-22",
        "10⁹",
    ):
        assert words in text
    assert "[table.md](benchmarks/results/2026-11-22_cpu/table.md)" in text
    assert "2026-11-21_cuda/table.md" not in text, "no link to a file that is not there"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["V-39", "Faster R-CNN", "float32", "3.46 (3.9)", "1.10 (1.08)", "190 (78)"] in [
        r[:6] for r in rows
    ]
    assert ["V-57", "Mask R-CNN", "float32", "out of memory (4.5)"] in [r[:4] for r in rows]
    aps = {tuple(row[:2]): row[7:] for row in rows if len(row) == 9}
    assert aps["V-57", "Faster R-CNN"] == ["- (40.8)", "-"], "published AP stands in parentheses alone"


def test_on_a_cpu_tensors_stand_beside_resident_memory(tmp_path: Path) -> None:
    record(tmp_path, "2026-11-22_cpu", case.cpu_results())
    text = updated_readme(README, tmp_path)
    assert "| 3.98, tensors 3.46 (3.9) | 1.10 (1.08) |" in text
    assert "use the peak of tensors" in text


def test_the_newest_whole_run_of_every_machine(tmp_path: Path) -> None:
    for date, quick in (("2026-11-22", False), ("2026-11-20", False), ("2026-11-23", True)):
        record(tmp_path, f"{date}_two", of(date=date, quick=quick))
    record(tmp_path, "2026-11-19_three", of("Card Three", "2026-11-19", quick=True))
    assert list(newest_runs(tmp_path / "benchmarks" / "results")) == ["2026-11-19_three", "2026-11-22_two"]


def test_without_results(tmp_path: Path) -> None:
    plain = "# Title\n"
    assert updated_readme(plain, tmp_path) == plain, "no markers are needed yet"
    assert "No result has been recorded yet" in updated_readme(README, tmp_path)


@pytest.mark.parametrize("text", [BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}\n{END}\n{BEGIN}\n{END}"])
def test_markers_that_are_no_pair(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="once each, in this order"):
        updated_readme(text, tmp_path)


def test_results_without_a_place(project: Path) -> None:
    (project / "README.md").write_text("# Title\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"no place for the runs .*2026-11-21_cuda.*begin"):
        run_script(SCRIPT, "--root", project, "--check")


def test_a_result_that_cannot_be_read(project: Path) -> None:
    (project / "benchmarks/results/2026-11-21_cuda/results.json").write_text('{"schema_version": 0}')
    with pytest.raises(SystemExit, match=r"results.json: schema_version: 0 is not"):
        run_script(SCRIPT, "--root", project)
