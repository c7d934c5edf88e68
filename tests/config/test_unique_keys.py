"""A key that stands twice is refused with both places; everything else is read as the usual readers do."""

import json

import pytest
import yaml

from maskrcnn_benchmark.config import ConfigError, load_config
from maskrcnn_benchmark.config.unique_keys import RepeatedKeyError, load_json, load_yaml


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A: 1\nB: 2\nA: 3\n", r"'A' stands twice in one mapping \(lines 1 and 3\)"),
        ("A:\n  B: 1\n  C: 2\n  B: 3\n", r"'B' .* \(lines 2 and 4\)"),
        ("A: {B: 1, C: 2, B: 3}\n", r"'B' .* \(line 1, columns 5 and 17\)"),
        ("- 1\n- B: 1\n  B: 1\n", r"'B' .* \(lines 2 and 3\)"),
        ("A: 1\n'A': 3\n", r"lines 1 and 2"),
    ],
)
def test_yaml(text: str, words: str) -> None:
    with pytest.raises(RepeatedKeyError, match=words):
        load_yaml(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A: {B: 1}\nC: {B: 1}\n",
        "base: &base {x: 1, y: 2}\nnew: {<<: *base, x: 3}\nnewer: &n {<<: *base, y: 4}\nz: {<<: *n, x: 9}\n",
        "1: a\n'1': b\n",
        "a: &a [1, 2]\nb: *a\n",
    ],
)
def test_yaml_that_repeats_nothing(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,\n "b": [{"a": 1}],\n "a": 2}', r"'a' .* \(lines 1 and 3\)"),
        ('{"x": [{"a": 1}, {"b": "{\\"a\\":", "b": 2}]}', r"'b' .* \(line 1, columns 19 and 35\)"),
        ('{"a": {}, "\\u0061": 2}', r"'a' .* columns 2 and 11"),
    ],
)
def test_json(text: str, words: str) -> None:
    with pytest.raises(RepeatedKeyError, match=words):
        load_json(text.encode())


def test_json_that_repeats_nothing() -> None:
    text = '{"a": [{"b": 1}, {"b": 2}], "b": {"a": "\\"b\\": \\u00e9"}, "c": [1.5, null, "a", {}]}'
    for encoding in ("utf-8", "utf-16"):
        assert load_json(text.encode(encoding)) == json.loads(text)


def test_a_config_names_its_file(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("MODEL:\n  MASK_ON: True\nSEED: 1\nMODEL:\n  DEVICE: cpu\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: the key 'MODEL' stands twice .*lines 1 and 4"):
        load_config(str(file))
