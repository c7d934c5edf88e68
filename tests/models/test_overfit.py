"""A model of every family learns two images of the embedded dataset by heart."""

from pathlib import Path

import pytest
import torch

from maskrcnn_benchmark.data.datasets.coco import COCODataset
from maskrcnn_benchmark.data.datasets.evaluation import evaluate
from maskrcnn_benchmark.data.datasets.shapes import draw_shapes
from maskrcnn_benchmark.models import mask_rcnn

ITERATIONS = 120
DECAY = 50  # the last iterations, in which the learning rate falls to zero
SMALL_HEADS = {
    "MODEL.FPN.OUT_CHANNELS": 64,
    "MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM": 128,
    "MODEL.ROI_MASK_HEAD.CONV_LAYERS": (64, 64),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 128,
    "INPUT.PIXEL_STD": [57.0, 57.0, 58.0],
}
FAMILIES = (
    "V-27-slim-FPN",
    "V2-19-slim-FPN",
    "V2-19-slim-dw-FPNLite",
    "R-18-FPN",
    "R-18-C4",
    "X-50-32x4d-FPN",
    "W-50-2-FPN",
    "MobileNet-V2-FPN",
    "MobileNet-V3-large-FPN",
    "VGG-11-BN-FPN",
    "VGG-11-C5",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> COCODataset:
    root = Path(
        draw_shapes(
            str(tmp_path_factory.mktemp("data") / "shapes"), num_train=2, num_val=1, size=128, seed=32
        )
    )
    return COCODataset(
        ann_file=str(root / "annotations/shapes_train.json"),
        root=str(root / "train"),
        remove_images_without_annotations=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("backbone", FAMILIES)
def test_overfits_two_images(backbone: str, dataset: COCODataset) -> None:
    torch.manual_seed(0)
    norm = "" if backbone == "VGG-11-C5" else "BN"  # that one has none
    options = SMALL_HEADS | {"MODEL.BACKBONE.NORM": norm}
    model = mask_rcnn(num_classes=4, backbone=backbone, options=options)
    images, targets, _ = zip(*(dataset[index] for index in range(len(dataset))), strict=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (ITERATIONS - step) / DECAY))
    for _ in range(ITERATIONS):
        losses = sum(model(images, targets).values())
        optimizer.zero_grad()
        losses.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        detections = model.eval()(images)
    results = evaluate(dataset, detections, None, ("bbox", "segm"))
    for kind, numbers in results.results.items():
        assert numbers["AP50"] > 0.9, f"{kind}: {numbers}"
