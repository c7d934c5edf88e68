"""Transforms by name: what INPUT.TRANSFORMS_TRAIN may list.

    @TRANSFORMS.register("invert")
    def build_invert(cfg: ConfigNode) -> Transform | None: ...

A builder returns None where the config switches its transform off.
"""

from maskrcnn_benchmark.utils.registry import Registry

TRANSFORMS = Registry("INPUT.TRANSFORMS_TRAIN")
