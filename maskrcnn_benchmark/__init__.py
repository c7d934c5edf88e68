"""Faster R-CNN and Mask R-CNN around VoVNet and ResNet bodies."""

__version__ = "1.0.0"  # the package's metadata takes it from here
