"""The page around everything: one file, for a phone and for the dark; its styles are in page.html."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from string import Template

from maskrcnn_benchmark.html.elements import Html, element, fragment

TEMPLATE_FILE = Path(__file__).with_name("page.html")


def page(title: str, *content: Html) -> str:
    """A whole HTML document. `title`: of the browser's tab; the page's own heading is `page_header`'s."""
    return _template().substitute(title=fragment(title), content="\n".join(content))


def page_header(title: str, lead: str, notices: Sequence[str] = ()) -> Html:
    """The heading, what the page is about in a sentence, and what must be known before reading on."""
    notice = [element("div", *(element("p", line) for line in notices), class_="notice")] if notices else []
    return element("header", element("h1", title), element("p", lead, class_="lead"), *notice)


@cache
def _template() -> Template:
    return Template(TEMPLATE_FILE.read_text(encoding="utf-8"))
