"""The family's entry points stay importable at their paths."""

from __future__ import annotations

import importlib

import pytest

ENTRY_POINTS = {
    "maskrcnn_benchmark.config": ["cfg"],
    "maskrcnn_benchmark.config.paths_catalog": ["DatasetCatalog", "ModelCatalog"],
    "maskrcnn_benchmark.data": ["make_data_loader"],
    "maskrcnn_benchmark.data.datasets.coco": ["COCODataset"],
    "maskrcnn_benchmark.data.datasets.concat_dataset": ["ConcatDataset"],
    "maskrcnn_benchmark.data.datasets.evaluation": ["evaluate"],
    "maskrcnn_benchmark.data.datasets.evaluation.coco": ["coco_evaluation"],
    "maskrcnn_benchmark.data.samplers": [
        "DistributedSampler",
        "GroupedBatchSampler",
        "IterationBasedBatchSampler",
    ],
    "maskrcnn_benchmark.data.transforms": ["Compose", "build_transforms"],
    "maskrcnn_benchmark.engine.inference": ["inference"],
    "maskrcnn_benchmark.engine.trainer": ["do_train"],
    "maskrcnn_benchmark.layers": ["FrozenBatchNorm2d", "ROIAlign", "ROIPool", "nms", "smooth_l1_loss"],
    "maskrcnn_benchmark.modeling.backbone": ["build_backbone"],
    "maskrcnn_benchmark.modeling.detector": ["build_detection_model"],
    "maskrcnn_benchmark.modeling.registry": ["BACKBONES", "ROI_BOX_FEATURE_EXTRACTORS", "RPN_HEADS"],
    "maskrcnn_benchmark.modeling.roi_heads.roi_heads": ["build_roi_heads"],
    "maskrcnn_benchmark.modeling.rpn.rpn": ["build_rpn"],
    "maskrcnn_benchmark.models.load": ["load_detector"],
    "maskrcnn_benchmark.solver": ["make_lr_scheduler", "make_optimizer"],
    "maskrcnn_benchmark.structures.bounding_box": ["BoxList"],
    "maskrcnn_benchmark.structures.boxlist_ops": [
        "boxlist_iou",
        "boxlist_nms",
        "cat_boxlist",
        "remove_small_boxes",
    ],
    "maskrcnn_benchmark.structures.image_list": ["ImageList", "to_image_list"],
    "maskrcnn_benchmark.structures.segmentation_mask": ["SegmentationMask"],
    "maskrcnn_benchmark.utils.checkpoint": ["Checkpointer", "DetectronCheckpointer"],
    "maskrcnn_benchmark.utils.comm": ["get_rank", "get_world_size", "is_main_process", "synchronize"],
    "maskrcnn_benchmark.utils.logger": ["setup_logger"],
    "maskrcnn_benchmark.utils.metric_logger": ["MetricLogger", "SmoothedValue"],
}


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_importable(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in ENTRY_POINTS[module] if not hasattr(found, name)] == []
