"""Operators and layers without a detector in them."""

from maskrcnn_benchmark.layers.losses import smooth_l1_loss
from maskrcnn_benchmark.layers.mask_ops import paste_mask, paste_masks_rle, rasterize_polygons
from maskrcnn_benchmark.layers.match_boxes import match_boxes
from maskrcnn_benchmark.layers.nms import batched_nms, nms
from maskrcnn_benchmark.layers.norm import FrozenBatchNorm2d
from maskrcnn_benchmark.layers.roi_align import ROIAlign, multilevel_roi_align, roi_align
from maskrcnn_benchmark.layers.roi_pool import ROIPool, roi_pool

__all__ = [
    "FrozenBatchNorm2d",
    "ROIAlign",
    "ROIPool",
    "batched_nms",
    "match_boxes",
    "multilevel_roi_align",
    "nms",
    "paste_mask",
    "paste_masks_rle",
    "rasterize_polygons",
    "roi_align",
    "roi_pool",
    "smooth_l1_loss",
]
