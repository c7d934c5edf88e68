"""The earlier path to `load_detector`, which stands in models/loaded_detector.py."""

from maskrcnn_benchmark.models.loaded_detector import LoadedDetector, load_detector

__all__ = ["LoadedDetector", "load_detector"]
