"""Filled models, shared between the replays."""

from typing import Any

import pytest
from golden.reference import Build, config_of
from golden.rules import fill_weights

from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model


@pytest.fixture(scope="session")
def build_filled() -> Build:
    """From a reference config and options to its detector with the rule's weights, in eval mode."""

    def build(config: str, opts: tuple[Any, ...] = ()) -> GeneralizedRCNN:
        model = build_detection_model(config_of(config, opts))
        fill_weights(model)
        return model.eval()

    return build
