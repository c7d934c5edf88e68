"""The links of the pages lead to files that are there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "benchmarks", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for each in FOLDERS for page in (ROOT / each).rglob("*.md"))])
# [words](target), also of pictures; [name]: target; <img src="target">
LINK = re.compile(r"\]\(<?([^)\s>]+)|^\[[^\]]+\]:\s+(\S+)|(?:src|href)=\"([^\"]+)\"", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:|#")  # https:, mailto:, or a heading of the same page


def links_of(text: str) -> list[str]:
    """The targets of a page's links to other files, without the headings in them; code is left out."""
    text = re.sub(r"^```.*?^```|^    .*?$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = ["".join(groups) for groups in LINK.findall(text)]
    return [unquote(target.partition("#")[0]) for target in targets if not ELSEWHERE.match(target)]


def test_every_kind_of_link_is_found() -> None:
    """A search that found nothing would pass everything."""
    text = 'a [b](c.md#d) ![e f](g/h.png)\n[i]: ../j%20k.md\n<img src="l.png"> [m](http:n) [p](#q) `[r](s)`\n'
    assert links_of(text) == ["c.md", "g/h.png", "../j k.md", "l.png"]
    assert {page.name for page in PAGES} >= {"README.md", "INSTALL.md", "CHANGELOG.md", "weights.md"}
    assert "INSTALL.md" in links_of((ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_exist(page: Path) -> None:
    links = links_of(page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{page.relative_to(ROOT)} links to {', '.join(missing)}, which is not there"
