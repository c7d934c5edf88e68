"""Every name of the list as a detector: from Python and from a config, forward and backward at two sizes."""

import pytest
import torch

from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.models import detector_config, faster_rcnn, list_backbones

SMALL = {
    "MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM": 16,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 8,
    "MODEL.RPN.POST_NMS_TOP_N_TRAIN": 20,
}
IMAGES = [torch.rand(3, 64, 64), torch.rand(3, 50, 97)]
TARGETS = [
    {"boxes": torch.tensor([[5.0, 8.0, 40.0, 44.0]]), "labels": torch.tensor([2])},
    {
        "boxes": torch.tensor([[0.0, 0.0, 49.0, 30.0], [30.0, 9.0, 90.0, 45.0]]),
        "labels": torch.tensor([1, 2]),
    },
]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", list_backbones())
def test_a_detector_runs_forward_and_backward(backbone: str) -> None:
    torch.manual_seed(0)
    model = faster_rcnn(num_classes=3, backbone=backbone, options=SMALL)
    with torch.device("meta"):
        same = build_detection_model(detector_config(backbone, 3, options=SMALL))
    shapes = {name: entry.shape for name, entry in model.state_dict().items()}
    assert shapes == {name: entry.shape for name, entry in same.state_dict().items()}
    assert len(model.backbone.strides) == len(model.backbone(torch.zeros(1, 3, 64, 64)))
    for image, target in zip(IMAGES, TARGETS, strict=True):
        torch.stack(list(model([image], [target]).values())).sum().backward()
    without = [name for name, entry in model.named_parameters() if entry.requires_grad and entry.grad is None]
    assert not without
    with torch.no_grad():
        (found,) = model.eval()(IMAGES[1:])
    assert found.size == (97, 50)
