"""Elements: text from outside stays text, in an element and in an attribute."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from maskrcnn_benchmark.html.elements import (
    Html,
    bullets,
    definitions,
    element,
    folded,
    fragment,
    legend,
    section,
)
from maskrcnn_benchmark.html.page import page, page_header
from maskrcnn_benchmark.html.tables import Table, plain_table

NASTY = "<script>alert('x')</script> & \"quoted\" </title>"


class Reader(HTMLParser):
    """What a browser would make of a text: the tags, the attributes' values and the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_an_element_as_a_browser_reads_it() -> None:
    inner = element("b", 5, class_="x", aria_label="five", hidden=None)
    assert inner == '<b class="x" aria-label="five">5</b>'
    assert element("p", "1 < ", inner) == '<p>1 &lt; <b class="x" aria-label="five">5</b></p>'
    assert isinstance(fragment(inner, "a & b"), Html) and fragment() == ""


@pytest.mark.parametrize(
    "text",
    [
        element("p", NASTY),
        fragment(NASTY),
        section("Title", NASTY),
        section(NASTY),
        bullets([NASTY]),
        definitions([("name", NASTY)]),
        definitions([(NASTY, 1)]),
        folded(NASTY, "inside"),
        legend([(element("i"), NASTY)]),
        page_header("Title", "lead", [NASTY]),
        page_header("Title", NASTY),
        plain_table(Table("title", ("a", "b"), (("row", NASTY),), 1)),
        plain_table(Table("title", ("a", NASTY), (), 1)),
        plain_table(Table("title", ("a",), (), 1, note=NASTY)),
        page(NASTY),
    ],
)
def test_text_from_outside_stays_text(text: str) -> None:
    found = Reader(text)
    assert NASTY in found.words
    assert "script" not in found.tags


def test_an_attribute_from_outside_stays_one_attribute() -> None:
    found = Reader(element("i", title=NASTY))
    assert (found.tags, found.values) == (["i"], [NASTY])
    assert NASTY in Reader(plain_table(Table(NASTY, ("a",), (), 1))).values


def test_a_page_holds_its_content_once_and_loads_nothing() -> None:
    text = page("Tab", page_header("Heading", "Lead."), section("Part", element("p", "$content")))
    found = Reader(text)
    assert found.words.count("Heading") == found.words.count("$content") == 1
    assert text.count("<main>") == 1 and text.startswith("<!DOCTYPE html>")
    assert not {"script", "img", "iframe"} & set(found.tags)
    assert "url(" not in text and "@import" not in text
