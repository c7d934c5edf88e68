"""Filled models, shared between the replays."""

from collections.abc import Callable
from typing import Any

import pytest
from golden.reference import config_of
from golden.rules import fill_weights

from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model


@pytest.fixture(scope="session")
def build_filled() -> Callable[..., GeneralizedRCNN]:
    """A function from a reference config and options to its detector with the weights of the rule, in eval mode."""

    def build(config: str, opts: tuple[Any, ...] = ()) -> GeneralizedRCNN:
        model = build_detection_model(config_of(config, opts))
        fill_weights(model)
        return model.eval()

    return build
