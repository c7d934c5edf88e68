"""A user's own module is imported by name or by file, once; what is wrong with it is said by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_benchmark.utils.user_module import import_user_module


def test_a_file_is_run_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("count = []\nvalue = 3\n")
    first = import_user_module(str(file), "IMPORTS")
    first.count.append(1)
    assert import_user_module(str(file), "IMPORTS").count == [1]
    assert first.value == 3


def test_a_dotted_name_is_found_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_package_of_a_user").mkdir()
    (tmp_path / "own_package_of_a_user" / "part.py").write_text("value = 4\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    assert import_user_module("own_package_of_a_user.part", "IMPORTS").value == 4


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.py", None, "no such file"),
        ("no_such_module_at_all", None, "No module named 'no_such_module_at_all'"),
        ("broken.py", "1 / 0", "ZeroDivisionError"),
        ("needs.py", "import no_such_package_at_all", "No module named 'no_such_package_at_all'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    given = str(tmp_path / name) if name.endswith(".py") else name
    if content is not None:
        Path(given).write_text(content)
    for _ in range(2):  # a module that failed is not kept
        with pytest.raises(ValueError, match=r"IMPORTS = .*") as raised:
            import_user_module(given, "IMPORTS")
        assert words in str(raised.value)
