"""The configuration: `cfg` (the family's mutable default), `load_config` (a frozen, checked one for a
run).
"""

from maskrcnn_benchmark.config.defaults import _C as cfg
from maskrcnn_benchmark.config.load import describe_scaling, load_config, load_config_text
from maskrcnn_benchmark.config.node import ConfigError, ConfigNode
from maskrcnn_benchmark.config.validate import validate

__all__ = [
    "ConfigError",
    "ConfigNode",
    "cfg",
    "describe_scaling",
    "load_config",
    "load_config_text",
    "validate",
]
