"""Elements of a page. What is not `Html` yet is escaped here, so text from outside cannot become a tag."""

from __future__ import annotations

import html
from collections.abc import Iterable


class Html(str):
    """Text that is HTML already; every other string is plain text."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: object) -> Html:
    """`<tag attributes>children</tag>`, also of SVG.

    Args:
        children: `Html` stays as it is; all else is text.
        attributes: `class_` stands for class, `aria_label` for aria-label; None leaves one out.
    """
    words = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{words}>{fragment(*children)}</{tag}>")


def fragment(*children: object) -> Html:
    """The children one after the other."""
    return Html("".join(each if isinstance(each, Html) else html.escape(str(each)) for each in children))


def section(title: str, *children: object) -> Html:
    """A section of the page: the title as a heading (h2), then the children."""
    return element("section", element("h2", title), *children)


def bullets(items: Iterable[object]) -> Html:
    """An unordered list (ul) with an entry (li) for each item; items that are no Html are escaped."""
    return element("ul", *(element("li", item) for item in items))


def definitions(pairs: Iterable[tuple[str, object]]) -> Html:
    """A definition list (dl): each pair's name (dt), and what it stands for (dd)."""
    parts = (part for name, value in pairs for part in (element("dt", name), element("dd", value)))
    return element("dl", *parts)


def folded(title: str, *children: object) -> Html:
    """Children that stay hidden (details) until a reader clicks on the title (summary)."""
    return element("details", element("summary", title), *children)


def legend(entries: Iterable[tuple[Html, str]]) -> Html:
    """Samples of what is drawn, and what each means."""
    return element("ul", *(element("li", sample, words) for sample, words in entries), class_="legend")
