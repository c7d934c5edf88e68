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
    found = {key: as_lists(value) for key, value in NOT_IMPLEMENTED.items()} | flat(cfg)
    assert {key: found.get(key, "absent") for key in expected} == expected | DIFFERENT


def test_a_key_with_a_default_is_implemented(monkeypatch: pytest.MonkeyPatch) -> None:
    """So whoever adds a part adds its defaults, and edits no second list."""
    monkeypatch.setitem(NOT_IMPLEMENTED, "MODEL.ROI_MASK_HEAD.RESOLUTION", 14)
    assert load_config(None, ["MODEL.ROI_MASK_HEAD.RESOLUTION", "56"]).MODEL.ROI_MASK_HEAD.RESOLUTION == 56
    with pytest.raises(ValueError, match=r"MODEL\.KEYPOINT_ON = 'True' is not implemented here"):
        load_config(None, ["MODEL.KEYPOINT_ON", "True"])


@pytest.mark.parametrize("config", PUBLISHED)
def test_published_options(config: str) -> None:
    """A published config sets the options the reference's sets, to the same values, and no other."""
    loaded, defaults = flat(load_config(str(CONFIGS / f"{config}.yaml"))), flat(cfg)
    changed = {key: value for key, value in loaded.items() if value != defaults[key]}
    assert changed == read_state_dict(config)["non_default_options"]
