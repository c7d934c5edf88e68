"""The configuration node: a yacs CfgNode whose merging explains what is wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
from ast import literal_eval
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from maskrcnn_benchmark.config.files import find_config, nearest_configs
from maskrcnn_benchmark.config.not_implemented import NOT_IMPLEMENTED
from maskrcnn_benchmark.config.unique_keys import RepeatedKeyError, load_yaml

NESTABLE = ("MODEL.RPN.ANCHOR_SIZES",)  # an item may be a sequence of such items


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the source, the key and the mend."""


class ConfigNode(CfgNode):
    """A yacs node with kinder merging: unknown keys show the nearest known ones, wrong types what was
    expected.

    Beyond yacs, an integer is accepted where a float is expected, and text such as `1e-4` or `(1, 2)` is read
    as the Python value it spells.
    """

    def merge_from_file(self, cfg_filename: str) -> None:
        """Merges a yaml file: at this path, or else of this name among the configs of the package.

        Raises:
            ConfigError: no such file, not a yaml mapping, unknown or unimplemented key, wrong type.
        """
        path = find_config(cfg_filename)
        if path is None:
            near = nearest_configs(cfg_filename)
            hint = f"; nearest of them: {', '.join(near)}" if near else ""
            raise ConfigError(
                f"config file {cfg_filename!r} does not exist (searched from {Path.cwd()} and among the "
                f"configs of the package{hint})"
            )
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{cfg_filename}: not a yaml file: {error}") from error
        self.merge_from_text(text, cfg_filename)

    def merge_from_text(self, text: str, source: str) -> None:
        """Merges yaml text, which `source` names in messages; raises as merge_from_file."""
        try:
            content = load_yaml(text)
        except RepeatedKeyError as error:
            raise ConfigError(f"{source}: {error}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{source}: not a yaml file: {error}") from error
        if content is None:
            return
        if not isinstance(content, dict):
            raise ConfigError(f"{source}: a mapping of keys is expected, got {type(content).__name__}")
        for key, value in _leaves(content):
            self._set(key, value, source)

    def merge_from_list(self, cfg_list: list[Any]) -> None:
        """Merges `[key, value, key, value, ...]`, as given on a command line.

        Raises:
            ConfigError: as merge_from_file, or a key without a value.
        """
        if len(cfg_list) % 2:
            raise ConfigError(
                f"command line: options come in pairs of KEY VALUE, but {cfg_list[-1]!r} stands alone "
                f"in {cfg_list}"
            )
        for key, value in zip(cfg_list[0::2], cfg_list[1::2], strict=True):
            self._set(str(key), value, "command line")

    def flat(self, prefix: str = "") -> dict[str, Any]:
        """Every leaf as `SECTION.KEY -> value`."""
        result: dict[str, Any] = {}
        for key, value in self.items():
            name = f"{prefix}{key}"
            result.update(value.flat(f"{name}.") if isinstance(value, ConfigNode) else {name: value})
        return result

    def _set(self, key: str, value: Any, source: str) -> None:
        """Sets one dotted key after checking that it is known and its value fits."""
        *sections, leaf = key.split(".")
        node: Any = self
        for section in sections:
            node = node.get(section) if isinstance(node, ConfigNode) else None
        if not isinstance(node, ConfigNode) or leaf not in node:
            _refuse_unknown(key, value, source, list(self.flat()))
            return
        if isinstance(node[leaf], ConfigNode):
            raise ConfigError(f"{source}: {key} is a section, not a key; its keys: {', '.join(node[leaf])}")
        if self.is_frozen():
            raise AttributeError(f"{key} cannot be changed: this configuration is frozen")
        node[leaf] = coerce(value, node[leaf], key, source)


def coerce(value: Any, default: Any, key: str, source: str) -> Any:
    """`value` in the type of `default`; text is first read as the Python value it spells.

    Raises:
        ConfigError: the types do not fit.
    """
    if isinstance(value, str) and not isinstance(default, str):
        with suppress(ValueError, SyntaxError):
            value = literal_eval(value)
    if isinstance(value, bool) == isinstance(default, bool):
        if isinstance(default, float) and isinstance(value, int):
            return float(value)
        if isinstance(value, (tuple, list)) and isinstance(default, (tuple, list)):
            items = (
                coerce(v, _item_default(v, default, key), f"{key}[{i}]", source) if default else v
                for i, v in enumerate(value)
            )
            return type(default)(items)
        if isinstance(value, type(default)):
            return value
    expected = type(default).__name__
    raise ConfigError(
        f"{source}: {key} = {value!r} is of type {type(value).__name__}; "
        f"expected {expected}, such as {default!r}"
    )


def _item_default(item: Any, default: Any, key: str) -> Any:
    """What an item of a sequence is to be like."""
    return default if key in NESTABLE and isinstance(item, (tuple, list)) else default[0]


def _refuse_unknown(key: str, value: Any, source: str, known: list[str]) -> None:
    """Raises for a key that does not exist, unless it is an unimplemented family key at its default."""
    if key in NOT_IMPLEMENTED:
        default = NOT_IMPLEMENTED[key]
        if coerce(value, default, key, source) != default:
            raise ConfigError(
                f"{source}: {key} = {value!r} is not implemented here; "
                f"remove the key or leave it at {default!r}"
            )
        return
    leaf = key.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    near += [name for name in known if name.rsplit(".", 1)[-1] == leaf and name not in near][:3]
    hint = f"; nearest known: {', '.join(near)}" if near else "; config/defaults.py lists every key"
    raise ConfigError(f"{source}: unknown key {key}{hint}")


def _leaves(content: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted leaves of a nested mapping."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value
