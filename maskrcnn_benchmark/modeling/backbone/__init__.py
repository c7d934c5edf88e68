"""Bodies and the feature pyramid."""

from maskrcnn_benchmark.modeling.backbone.backbone import Backbone, build_backbone
from maskrcnn_benchmark.modeling.backbone.body import make_norm_factory

__all__ = ["Backbone", "build_backbone", "make_norm_factory"]
