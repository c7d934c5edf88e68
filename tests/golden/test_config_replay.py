"""Defaults and published options against the reference's resolved configurations."""

from typing import Any

import pytest
from golden.reference import CONFIGS, PUBLISHED, read_json, read_state_dict

from maskrcnn_benchmark.config import ConfigNode, cfg, load_config
from maskrcnn_benchmark.config.not_implemented import NOT_IMPLEMENTED

# options that are meant to differ from the reference, with the value here
DIFFERENT = {"MODEL.DEVICE": "auto"}


def as_lists(value: Any) -> Any:
    """JSON knows no tuples."""
    return [as_lists(item) for item in value] if isinstance(value, (tuple, list)) else value


def flat(config: ConfigNode) -> dict[str, Any]:
    return {key: as_lists(value) for key, value in config.flat().items()}


def test_defaults() -> None:
    """Every option of the reference is here at its default, or known by name as not implemented."""
    expected = read_json("config_defaults.json")["defaults"]
    found = flat(cfg) | {key: as_lists(value) for key, value in NOT_IMPLEMENTED.items()}
    assert {key: found.get(key, "absent") for key in expected} == expected | DIFFERENT


def test_not_implemented_keys_are_no_options() -> None:
    assert not set(NOT_IMPLEMENTED) & set(cfg.flat())


@pytest.mark.parametrize("config", PUBLISHED)
def test_published_options(config: str) -> None:
    """A published config sets the options the reference's sets, to the same values, and no other."""
    loaded, defaults = flat(load_config(str(CONFIGS / f"{config}.yaml"))), flat(cfg)
    changed = {key: value for key, value in loaded.items() if value != defaults[key]}
    assert changed == read_state_dict(config)["non_default_options"]
