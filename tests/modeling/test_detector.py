"""The detector as a whole: what comes out for what goes in, on nasty batches too."""

from __future__ import annotations

import copy

import pytest
import torch

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Detections
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

QUICK = "configs/quick/mask_rcnn_V_39_FPN_gn_shapes.yaml"
LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}


def make_target(boxes: list[list[float]], size_wh: tuple[int, int], with_masks: bool = True) -> BoxList:
    """Rectangular objects, all of class 1."""
    target = BoxList(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), size_wh)
    target.add_field("labels", torch.ones(len(boxes), dtype=torch.int64))
    if with_masks:
        polygons = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes]
        target.add_field("masks", SegmentationMask(polygons, size_wh))
    return target


BOX_KEY = torch.tensor([1.0, 2**0.5, 3**0.5, 5**0.5])  # gives boxes an order that rounding does not change


@pytest.fixture(scope="module")
def model() -> GeneralizedRCNN:
    torch.manual_seed(0)
    opts = ["MODEL.VOVNET.BACKBONE_OUT_CHANNELS", "32", "MODEL.ROI_HEADS.SCORE_THRESH", "0.0"]
    return build_detection_model(load_config(QUICK, opts))


@pytest.fixture
def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 256, (3, h, w), dtype=torch.uint8, generator=generator)
        for h, w in ((64, 96), (80, 64))
    ]


def test_losses_have_gradients_everywhere(model: GeneralizedRCNN, images: list[torch.Tensor]) -> None:
    targets = [
        make_target([[5, 5, 40, 40], [10, 20, 60, 50]], (96, 64)),
        make_target([[0, 0, 30, 70]], (64, 80)),
    ]
    losses = model.train()(images, targets)
    assert set(losses) == LOSSES
    assert all(
        loss.ndim == 0 and loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values()
    )
    model.zero_grad(set_to_none=True)
    sum(losses.values()).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == [], "a rank without a gradient would hang the others"


@pytest.mark.parametrize("boxes_of_second", [[], [[3, 3, 3, 3]], [[0, 0, 63, 79]]])
def test_images_without_objects_keep_every_loss_and_gradient(
    model: GeneralizedRCNN, images: list[torch.Tensor], boxes_of_second: list[list[float]]
) -> None:
    targets = [make_target([], (96, 64)), make_target(boxes_of_second, (64, 80))]
    losses = model.train()(images, targets)
    assert set(losses) == LOSSES and all(torch.isfinite(loss) for loss in losses.values())
    model.zero_grad(set_to_none=True)
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    if not boxes_of_second:
        assert losses["loss_mask"] == losses["loss_box_reg"] == losses["loss_rpn_box_reg"] == 0


def test_no_objects_and_no_masks_at_all(model: GeneralizedRCNN, images: list[torch.Tensor]) -> None:
    targets = [make_target([], size, with_masks=False) for size in ((96, 64), (64, 80))]
    losses = model.train()(images, targets)
    assert set(losses) == LOSSES and losses["loss_mask"] == 0


def test_detections_are_sorted_inside_the_image_and_carry_masks(
    model: GeneralizedRCNN, images: list[torch.Tensor]
) -> None:
    with torch.no_grad():
        detections = model.eval()(images)
    assert [boxlist.size for boxlist in detections] == [(96, 64), (64, 80)]
    for boxlist in detections:
        scores, (width, height) = boxlist.get_field("scores"), boxlist.size
        assert 0 < len(boxlist) <= 100
        assert (scores.diff() <= 0).all()
        assert set(boxlist.get_field("labels").tolist()) <= {1, 2, 3}
        assert boxlist.get_field("mask").shape == (len(boxlist), 1, 28, 28)
        assert (boxlist.bbox >= 0).all()
        assert (boxlist.bbox[:, 2] <= width - 1).all() and (boxlist.bbox[:, 3] <= height - 1).all()


def test_every_form_of_input_gives_the_same(model: GeneralizedRCNN, images: list[torch.Tensor]) -> None:
    model.eval()
    batch = to_image_list(images, 32)
    with torch.no_grad():
        expected = model(images)
        normalised = ImageList(model.normalize(batch), batch.image_sizes)
        for same in (batch, normalised):
            for one, other in zip(model(same), expected, strict=True):
                torch.testing.assert_close(one.bbox, other.bbox)
                torch.testing.assert_close(one.get_field("scores"), other.get_field("scores"))


def test_normalising_equals_the_formula_and_leaves_the_padding_zero(
    model: GeneralizedRCNN, images: list[torch.Tensor]
) -> None:
    batch = to_image_list(images, 32)
    x = model.normalize(batch)
    mean = torch.tensor([102.9801, 115.9465, 122.7717]).view(3, 1, 1)
    std = torch.tensor([57.0, 57.0, 58.0]).view(3, 1, 1)
    for i, image in enumerate(images):
        height, width = image.shape[1:]
        torch.testing.assert_close(x[i, :, :height, :width], (image - mean) / std)
        assert x[i, :, height:].abs().sum() == 0 and x[i, :, :, width:].abs().sum() == 0


def test_an_image_gives_the_same_alone_and_in_a_batch(model: GeneralizedRCNN) -> None:
    """In float64, where the rounding of another batch size is far below the differences between scores."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator) for _ in range(3)]
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        together = model(images)
        for i, image in enumerate(images):
            (alone,) = model([image])
            # scores that are equal but for rounding may come in either order
            one, two = (found.bbox @ BOX_KEY for found in (alone, together[i]))
            one, two = one.argsort(), two.argsort()
            torch.testing.assert_close(alone.bbox[one], together[i].bbox[two], atol=1e-3, rtol=0)
            torch.testing.assert_close(alone.get_field("scores")[one], together[i].get_field("scores")[two])


def test_whole_inference_is_one_graph(model: GeneralizedRCNN, images: list[torch.Tensor]) -> None:
    """In float64: in float32 rounding may put detections of nearly equal score in another order."""
    model = copy.deepcopy(model).double().eval()
    batch = to_image_list(images, 32)

    def infer(tensors: torch.Tensor, sizes: torch.Tensor) -> Detections:
        return model.inference(ImageList(tensors, batch.image_sizes, sizes))

    with torch.no_grad():
        compiled = torch.compile(infer, fullgraph=True, backend="eager")(batch.tensors, batch.sizes)
        expected = model.inference(batch)
    for ours, theirs in zip(compiled, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_user_errors(model: GeneralizedRCNN, images: list[torch.Tensor]) -> None:
    model.train()
    with pytest.raises(ValueError, match="needs targets"):
        model(images)
    with pytest.raises(ValueError, match="2 images but 1 targets"):
        model(images, [make_target([], (96, 64))])
    with pytest.raises(ValueError, match="masks"):
        targets = [make_target([[5, 5, 40, 40]], size, with_masks=False) for size in ((96, 64), (64, 80))]
        model(images, targets)


def test_unknown_body_and_head_show_the_nearest_names() -> None:
    with pytest.raises(ValueError, match=r"CONV_BODY = 'V-38-FPN' is not known; nearest: .*V-39-FPN"):
        build_detection_model(load_config(QUICK, ["MODEL.BACKBONE.CONV_BODY", "V-38-FPN"]))
    with pytest.raises(ValueError, match="FPNPredictor"):
        build_detection_model(load_config(QUICK, ["MODEL.ROI_BOX_HEAD.PREDICTOR", "FPNPredict"]))
