"""The detectors and their builder."""

from maskrcnn_benchmark.modeling.detector.detectors import build_detection_model
from maskrcnn_benchmark.modeling.detector.generalized_rcnn import GeneralizedRCNN
from maskrcnn_benchmark.modeling.detector.interface import Detector

__all__ = ["Detector", "GeneralizedRCNN", "build_detection_model"]
