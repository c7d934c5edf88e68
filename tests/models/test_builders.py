"""Detectors from Python: the same as from a config, and clear about what does not fit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskrcnn_benchmark import models
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.models import backbones, detector_config, faster_rcnn, list_backbones, mask_rcnn
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {"MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM": 32, "MODEL.FPN.OUT_CHANNELS": 32}
IMAGES = [torch.linspace(-60, 60, 3 * 96 * 128).view(3, 96, 128), torch.zeros(3, 64, 100)]


def targets(with_masks: bool = False) -> list[dict[str, Tensor]]:
    boxes = [torch.tensor([[10.0, 12.0, 60.0, 70.0]]), torch.tensor([[0.0, 0.0, 40.0, 50.0]])]
    result = [{"boxes": box, "labels": torch.tensor([1])} for box in boxes]
    if with_masks:
        for target, image in zip(result, IMAGES, strict=True):
            x1, y1, x2, y2 = target["boxes"][0].int().tolist()
            target["masks"] = torch.zeros(1, *image.shape[1:], dtype=torch.uint8)
            target["masks"][0, y1 : y2 + 1, x1 : x2 + 1] = 1
    return result


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    ("backbone", "mask", "config"),
    [
        ("V-39-FPN", True, "vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml"),
        ("V-57-FPN", False, "vovnet/e2e_faster_rcnn_V_57_FPN_2x.yaml"),
        ("R-50-FPN", True, "e2e_mask_rcnn_R_50_FPN_2x.yaml"),
        ("R-50-C4", False, "e2e_faster_rcnn_R_50_C4_1x.yaml"),
        ("R-50-C4", True, "e2e_mask_rcnn_R_50_C4_1x.yaml"),
    ],
)
def test_the_published_model_comes_out(backbone: str, mask: bool, config: str) -> None:
    """Name by name and shape by shape the model of the published config, anchors and numbers included."""
    published = load_config(str(CONFIGS / config))
    built = detector_config(backbone, 81, mask)
    with torch.device("meta"):
        assert shapes(build_detection_model(built)) == shapes(build_detection_model(published))
    for section in ("RPN", "ROI_HEADS", "ROI_BOX_HEAD"):
        assert built.MODEL[section] == published.MODEL[section]
    if mask:
        assert built.MODEL.ROI_MASK_HEAD == published.MODEL.ROI_MASK_HEAD


def test_builder_and_config_give_equal_outputs() -> None:
    model = mask_rcnn(num_classes=4, backbone="V-27-slim-FPN", options=SMALL)
    other = build_detection_model(detector_config("V-27-slim-FPN", 4, mask=True, options=SMALL))
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        found, expected = model.eval()(IMAGES), other.eval()(IMAGES)
    for one, two in zip(found, expected, strict=True):
        assert torch.equal(one.bbox, two.bbox)
        for field in ("scores", "labels", "mask"):
            assert torch.equal(one.get_field(field), two.get_field(field))


def test_dictionaries_and_boxlists_give_equal_losses() -> None:
    model = mask_rcnn(num_classes=3, backbone="V-27-slim-FPN", options=SMALL)
    boxlists = []
    for target, image in zip(targets(with_masks=True), IMAGES, strict=True):
        boxlist = BoxList(target["boxes"], (image.shape[2], image.shape[1]))
        boxlist.add_field("labels", target["labels"])
        x1, y1, x2, y2 = target["boxes"][0].tolist()
        corners = [x1, y1, x2 + 1, y1, x2 + 1, y2 + 1, x1, y2 + 1]
        boxlist.add_field("masks", SegmentationMask([[corners]], boxlist.size))
        boxlists.append(boxlist)
    torch.manual_seed(0)
    plain = model(IMAGES, targets(with_masks=True))
    torch.manual_seed(0)
    listed = model(IMAGES, boxlists)
    assert set(plain) == {
        "loss_objectness",
        "loss_rpn_box_reg",
        "loss_classifier",
        "loss_box_reg",
        "loss_mask",
    }
    for name, loss in plain.items():
        assert loss.item() == pytest.approx(listed[name].item(), rel=1e-5), name


@pytest.mark.parametrize("label", [0, 3])
def test_labels_of_no_class_are_refused(label: int) -> None:
    model = faster_rcnn(num_classes=3, backbone=TwoMaps(), options=SMALL)
    wrong = targets()
    wrong[1]["labels"] = torch.tensor([label])
    with pytest.raises(
        ValueError, match=f"target 1 of the batch has labels from {label} .* allowed are 1 to 2"
    ):
        model(IMAGES, wrong)


def test_detections_as_dictionaries() -> None:
    model = mask_rcnn(num_classes=3, backbone="V-27-slim-FPN", options=SMALL, plain_dicts=True).eval()
    with torch.no_grad():
        plain = model(IMAGES)
        model.plain_dicts = False
        listed = model(IMAGES)
    for one, two, image in zip(plain, listed, IMAGES, strict=True):
        assert torch.equal(one["boxes"], two.bbox)
        assert torch.equal(one["scores"], two.get_field("scores"))
        assert one["masks"].shape == (len(two), *image.shape[1:])


def test_a_backbone_by_object_equals_one_by_name() -> None:
    by_object = faster_rcnn(num_classes=3, backbone=backbones.vgg11())
    by_name = faster_rcnn(num_classes=3, backbone="VGG-11-C5")
    assert shapes(by_object) == shapes(by_name)


class TwoMaps(nn.Module):
    """A user's own backbone: two maps, strides 8 and 16."""

    out_channels = 8
    strides = (8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, stride=8)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.conv(images)
        return fine, nn.functional.max_pool2d(fine, 2)


def test_a_backbone_of_ones_own() -> None:
    model = faster_rcnn(num_classes=3, backbone=TwoMaps(), options=SMALL)
    assert model.rpn.anchor_generator.strides == (8, 16)
    losses = model(IMAGES, targets())
    sum(losses.values()).backward()
    assert model.backbone.conv.weight.grad.abs().sum() > 0


def test_a_backbone_that_says_nothing_of_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="backbone Conv2d has no attribute 'strides'"):
        faster_rcnn(backbone=nn.Conv2d(3, 8, 3))


def test_anchors_follow_scales_and_ratios() -> None:
    """The classic ones: scales in strides of the map, so 8, 16, 32 at stride 16 are 128, 256, 512 pixels."""
    model = faster_rcnn(num_classes=20, backbone="R-50-C4", anchor_scales=(8, 16, 32), ratios=(0.5, 1, 2))
    cells = model.rpn.anchor_generator.cell_anchors[0]
    assert len(cells) == 9
    square = cells[3:6]  # of ratio 1
    assert (square[:, 2] - square[:, 0] + 1).tolist() == [128, 256, 512]
    assert model.roi_heads.box.predictor.cls_score.out_features == 20


def test_several_scales_a_level() -> None:
    model = faster_rcnn(num_classes=3, backbone="V-27-slim-FPN", anchor_scales=(4, 8), options=SMALL)
    assert model.rpn.anchor_generator.num_anchors_per_location() == [6] * 5


@pytest.mark.parametrize("num_classes", [1, 0, -3, 2.0, "21", True])
def test_num_classes_is_checked(num_classes: object) -> None:
    with pytest.raises(ValueError, match="one for the background"):
        faster_rcnn(num_classes=num_classes)


@pytest.mark.parametrize(
    "argument",
    [
        {"anchor_scales": ()},
        {"anchor_scales": 8},
        {"anchor_scales": (float("nan"),)},
        {"ratios": (0.5, -1)},
        {"ratios": ()},
        {"ratios": ("1",)},
        {"options": ["MODEL.DEVICE", "cpu"]},
        {"weights": 5},
    ],
)
def test_arguments_are_checked(argument: dict[str, object]) -> None:
    (name,) = argument
    with pytest.raises(ValueError, match=f"{name} = "):
        faster_rcnn(num_classes=3, **argument)


def test_an_unknown_backbone_lists_the_nearest() -> None:
    for name, near in (("V-38-FPN", "V-39-FPN"), ("resnet50_fpn", "R-50-FPN"), ("vgg16", "VGG-16-C5")):
        with pytest.raises(ValueError, match=rf"'{name}' is not known; nearest: .*{near}"):
            faster_rcnn(backbone=name)


def test_an_unknown_option_lists_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"MODEL.ROI_HEADS.SCORE_THRES; nearest known: .*SCORE_THRESH"):
        faster_rcnn(options={"MODEL.ROI_HEADS.SCORE_THRES": 0.3})


def test_shortcuts_in_the_ecosystems_spelling() -> None:
    for builder, name in ((faster_rcnn, "faster_rcnn_resnet50_fpn"), (mask_rcnn, "mask_rcnn_vovnet39_fpn")):
        shortcut = getattr(models, name)
        assert shortcut.func is builder
        assert name in dir(models)
    assert models.faster_rcnn_resnet50_fpn.keywords == {"backbone": "R-50-FPN"}
    assert shapes(models.mask_rcnn_vovnet27_slim_fpn(num_classes=21, options=SMALL)) == shapes(
        mask_rcnn(num_classes=21, backbone="V-27-slim-FPN", options=SMALL)
    )
    with pytest.raises(AttributeError, match="faster_rcnn_resnet50_fpn"):
        getattr(models, "faster_rcnn_resnet51_fpn")  # noqa: B009


def test_every_backbone_has_one_python_name() -> None:
    named = [name for name in dir(backbones) if name != "named_backbone"]
    assert len(named) == len(set(named)) == len(list_backbones())
    assert all(name.isidentifier() for name in named)
    with pytest.raises(AttributeError, match=r"nearest: .*vgg16"):
        getattr(backbones, "vgg17")  # noqa: B009


def test_patterns_list() -> None:
    assert list_backbones("V-39-*") == ["V-39-C5", "V-39-FPN", "V-39-FPNLite"]
    assert list_backbones("nothing") == []
