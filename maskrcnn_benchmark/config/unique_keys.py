"""YAML and JSON in which a key may stand once: the usual readers drop all but the last without a word."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

# strings, brackets and colons: enough to tell keys from values
JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]')


class RepeatedKeyError(ValueError):
    """A key stands twice in one mapping; the message says which, and in which lines."""


class _Repeated(Exception):
    """Somewhere in the text that is being read; where is looked up then."""


def load_yaml(text: str) -> Any:
    """What `yaml.safe_load` gives.

    Raises RepeatedKeyError for a key that stands twice in one mapping, and yaml.YAMLError for other faults.
    Keys that a merge (<<) brings may be set again: that is what it is for.
    """
    _check_yaml(yaml.compose(text, Loader=yaml.SafeLoader), seen=set())
    return yaml.safe_load(text)


def _check_yaml(node: yaml.Node | None, seen: set[int]) -> None:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_yaml(item, seen)
    if isinstance(node, yaml.MappingNode):
        marks: dict[tuple[str, str], yaml.Mark] = {}
        for key, value in node.value:
            _check_yaml(value, seen)
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            mark, earlier = key.start_mark, marks.get((key.tag, key.value))
            if earlier is not None:
                raise _twice(key.value, (earlier.line, earlier.column), (mark.line, mark.column))
            marks[key.tag, key.value] = mark


def load_json(content: bytes) -> Any:
    """What `json.loads` gives.

    Raises RepeatedKeyError for a key that stands twice in one object, and ValueError for other faults.
    """
    try:
        return json.loads(content, object_pairs_hook=_unique)
    except _Repeated:
        raise _find_in_json(content.decode(json.detect_encoding(content))) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Repeated
    return result


def _find_in_json(text: str) -> RepeatedKeyError:
    """The error for the first repeated key of a text that has one."""
    stack: list[dict[str, int]] = []
    last = None
    for token in JSON_TOKEN.finditer(text):
        kind = token[0]
        if kind in "{[":
            stack.append({})
        elif kind in "}]":
            stack.pop()
        elif kind == ":" and last is not None:
            key, place = json.loads(last[0]), last.start()
            if key in stack[-1]:
                return _twice(key, _line_and_column(text, stack[-1][key]), _line_and_column(text, place))
            stack[-1][key] = place
        else:
            last = token
    raise AssertionError("no key is repeated")


def _line_and_column(text: str, place: int) -> tuple[int, int]:
    """Counted from 0."""
    return text.count("\n", 0, place), place - (text.rfind("\n", 0, place) + 1)


def _twice(key: str, first: tuple[int, int], second: tuple[int, int]) -> RepeatedKeyError:
    where = f"lines {first[0] + 1} and {second[0] + 1}"
    if first[0] == second[0]:
        where = f"line {first[0] + 1}, columns {first[1] + 1} and {second[1] + 1}"
    return RepeatedKeyError(
        f"the key {key!r} stands twice in one mapping ({where}), and only one could count; join the two, or "
        "remove one"
    )
