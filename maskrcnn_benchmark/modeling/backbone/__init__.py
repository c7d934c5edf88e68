"""Bodies and the feature pyramid."""

from maskrcnn_benchmark.modeling.backbone.backbone import build_backbone, make_norm_factory

__all__ = ["build_backbone", "make_norm_factory"]
