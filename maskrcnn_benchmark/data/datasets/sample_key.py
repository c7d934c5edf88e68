"""What a sampler asks a dataset for: an image, and the seed of the random choices made on it."""

from __future__ import annotations

import random
from typing import NamedTuple


class SampleKey(NamedTuple):
    """Image ``image`` (an index) as the sample at ``position`` of a run's endless stream of samples.

    Random choices are a function of (seed, position, image) alone: whichever worker process makes them, in
    whatever order, before or after a resume, they come out the same.
    """

    image: int
    position: int
    seed: int


def sample_random(key: int | SampleKey) -> random.Random:
    """The generator for one sample; a plain index counts as position 0 of seed 0."""
    index, position, seed = key if isinstance(key, SampleKey) else (key, 0, 0)
    # Python seeds its generator with every bit of the number, so no two keys share a stream
    return random.Random((seed << 96) | (position << 40) | index)
