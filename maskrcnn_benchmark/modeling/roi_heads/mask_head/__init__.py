"""The mask head; importing it registers its feature extractor and predictor."""

from maskrcnn_benchmark.modeling.roi_heads.mask_head.feature_extractors import MaskRCNNFPNFeatureExtractor
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import ROIMaskHead, build_roi_mask_head
from maskrcnn_benchmark.modeling.roi_heads.mask_head.predictor import MaskRCNNC4Predictor

__all__ = ["MaskRCNNC4Predictor", "MaskRCNNFPNFeatureExtractor", "ROIMaskHead", "build_roi_mask_head"]
