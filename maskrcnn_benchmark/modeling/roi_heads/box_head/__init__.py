"""The box head; importing it registers its feature extractors and predictors."""

from maskrcnn_benchmark.modeling.roi_heads.box_head.box_head import ROIBoxHead, build_roi_box_head
from maskrcnn_benchmark.modeling.roi_heads.box_head.feature_extractors import (
    FPN2MLPFeatureExtractor,
    FPNXconv1fcFeatureExtractor,
)
from maskrcnn_benchmark.modeling.roi_heads.box_head.predictor import FastRCNNPredictor, FPNPredictor
from maskrcnn_benchmark.modeling.roi_heads.conv5 import ResNet50Conv5ROIFeatureExtractor

__all__ = [
    "FPN2MLPFeatureExtractor",
    "FPNPredictor",
    "FPNXconv1fcFeatureExtractor",
    "FastRCNNPredictor",
    "ROIBoxHead",
    "ResNet50Conv5ROIFeatureExtractor",
    "build_roi_box_head",
]
