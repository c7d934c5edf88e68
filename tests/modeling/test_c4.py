"""Detectors on a single map: the C4 head, shared or not, and FPN heads over a body's last map."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from maskrcnn_benchmark.config import ConfigError, load_config
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model
from maskrcnn_benchmark.modeling.roi_heads import regions
from maskrcnn_benchmark.modeling.roi_heads.regions import Regions
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Detections
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

Options = dict[str, object]

SMALL: Options = {
    "MODEL.BACKBONE.CONV_BODY": "R-18-C4",
    "MODEL.BACKBONE.FREEZE_CONV_BODY_AT": 0,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    "MODEL.ROI_BOX_HEAD.NUM_CLASSES": 4,
    "MODEL.RPN.PRE_NMS_TOP_N_TEST": 100,
    "MODEL.RPN.POST_NMS_TOP_N_TEST": 20,
    "MODEL.RPN.POST_NMS_TOP_N_TRAIN": 40,
    "MODEL.ROI_HEADS.SCORE_THRESH": 0.0,
    "MODEL.MASK_ON": True,
}
C5_HEADS: Options = {
    "MODEL.BACKBONE.CONV_BODY": "R-18-C5",
    "MODEL.RPN.ANCHOR_STRIDE": (32,),
    "MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR": "FPN2MLPFeatureExtractor",
    "MODEL.ROI_BOX_HEAD.PREDICTOR": "FPNPredictor",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.ROI_BOX_HEAD.POOLER_SCALES": (1 / 32,),
    "MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR": "MaskRCNNFPNFeatureExtractor",
    "MODEL.ROI_MASK_HEAD.POOLER_SCALES": (1 / 32,),
    "MODEL.ROI_MASK_HEAD.RESOLUTION": 28,
    "MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR": False,
}
LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}


def build(options: Options) -> GeneralizedRCNN:
    torch.manual_seed(0)
    return build_detection_model(load_config(None, [item for pair in options.items() for item in pair]))


@pytest.fixture(scope="module")
def model() -> GeneralizedRCNN:
    return build(SMALL)


@pytest.fixture
def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((64, 96), (80, 72))
    return [torch.randint(0, 256, (3, h, w), dtype=torch.uint8, generator=generator) for h, w in sizes]


def targets(num_objects: tuple[int, int] = (2, 1)) -> list[BoxList]:
    result = []
    for count, size in zip(num_objects, ((96, 64), (72, 80)), strict=True):
        boxes = [[5.0, 5.0, 40.0, 40.0], [30.0, 20.0, 70.0, 60.0]][:count]
        target = BoxList(torch.tensor(boxes).reshape(-1, 4), size)
        target.add_field("labels", torch.arange(1, count + 1))
        polygons = [[[x1, y1, x2, y1, x2, y2]] for x1, y1, x2, y2 in boxes]
        target.add_field("masks", SegmentationMask(polygons, size))
        result.append(target)
    return result


def losses_and_gradients(
    model: GeneralizedRCNN, images: list[Tensor], wanted: list[BoxList]
) -> tuple[dict[str, Tensor], dict[str, Tensor | None]]:
    model.zero_grad(set_to_none=True)
    torch.manual_seed(1)
    losses = model.train()(images, wanted)
    sum(losses.values()).backward()
    return losses, {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("num_objects", [(2, 1), (0, 1), (0, 0)])
def test_every_loss_reaches_every_weight(
    model: GeneralizedRCNN, images: list[Tensor], num_objects: tuple[int, int]
) -> None:
    losses, gradients = losses_and_gradients(model, images, targets(num_objects))
    assert set(losses) == LOSSES and all(torch.isfinite(loss) for loss in losses.values())
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert (losses["loss_mask"] > 0) == (num_objects != (0, 0))


def test_sharing_is_computing_twice_with_one_set_of_weights(
    model: GeneralizedRCNN, images: list[Tensor]
) -> None:
    """The shared features against a mask head that runs its own copy of layer4; gradients add up."""
    heads = model.roi_heads
    assert heads.mask.feature_extractor is heads.box.feature_extractor
    twice = copy.deepcopy(model)
    twice.roi_heads.mask.feature_extractor = copy.deepcopy(heads.box.feature_extractor)
    once_losses, once = losses_and_gradients(model, images, targets())
    twice_losses, apart = losses_and_gradients(twice, images, targets())
    for name, loss in once_losses.items():
        torch.testing.assert_close(loss, twice_losses[name], rtol=1e-5, atol=1e-7)
    for name, gradient in once.items():
        parts = [apart[name], apart.get(name.replace("heads.box.feature", "heads.mask.feature"))]
        is_shared = "roi_heads.box.feature_extractor" in name
        expected = sum(part for part in parts[: 1 + is_shared] if part is not None)
        assert gradient is not None
        limit = 1e-4 * gradient.abs().max().item() + 1e-9
        torch.testing.assert_close(gradient, expected, rtol=0, atol=limit, msg=name)


@pytest.mark.parametrize("counted", [True, False])
def test_shared_rows_are_the_same_counted_or_not(counted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of wanted slots out of those computed: on a CPU for used slots alone, elsewhere for all."""
    monkeypatch.setattr(regions, "counting_is_free", lambda used: counted)
    used = torch.tensor([[True, True, False, True], [False, True, True, False]])
    wanted = torch.tensor([[True, False], [False, True]])
    x1 = torch.arange(8.0).view(2, 4, 1)
    every = Regions((), torch.cat([x1, x1, x1, x1], dim=2), used)
    calls = []

    class FirstCorner(torch.nn.Module):
        def forward(self, features: tuple[Tensor, ...], rois: Tensor) -> Tensor:
            calls.append(len(rois))
            return rois[:, 1:2]

    extractor = FirstCorner()
    assert every.extract(extractor).flatten().tolist() == ([0, 1, 3, 5, 6] if counted else list(range(8)))
    leading = every.leading(wanted)
    assert leading.extract(extractor).flatten().tolist() == ([0, 5] if counted else [0, 1, 4, 5])
    assert leading.extract(FirstCorner()).tolist() == leading.extract(extractor).tolist()
    assert len(calls) == 2, "the shared extractor ran once, another one for itself"


def test_the_state_dict_has_the_shared_weights_twice(model: GeneralizedRCNN) -> None:
    state = model.state_dict()
    box = {key for key in state if key.startswith("roi_heads.box.feature_extractor.head.layer4.")}
    assert box and all(
        state[key].data_ptr() == state[key.replace("heads.box", "heads.mask")].data_ptr() for key in box
    )
    loaded = build(SMALL)
    loaded.load_state_dict({key: tensor + 1 for key, tensor in state.items()})
    assert loaded.roi_heads.mask.feature_extractor is loaded.roi_heads.box.feature_extractor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_inference_is_one_graph(
    model: GeneralizedRCNN, images: list[Tensor], dtype: torch.dtype
) -> None:
    """Nothing waits for the device: the shapes do not depend on what is found.

    A compiled graph convolves another way than prepared layers do. In float32 the rounding of either may put
    detections of nearly equal score in another order; in float64 it is far below their differences.
    """
    model = copy.deepcopy(model).to(dtype).eval()
    batch = to_image_list(images, 0)

    def infer(tensors: Tensor, sizes: Tensor) -> Detections:
        return model.inference(ImageList(tensors, batch.image_sizes, sizes))

    with torch.no_grad():
        compiled = torch.compile(infer, fullgraph=True, backend="eager")(batch.tensors, batch.sizes)
        expected = model.inference(batch)
    assert expected.valid.any()
    assert expected.fields["mask_logits"].shape[-2:] == (14, 14)
    for ours, theirs in zip(tree_leaves(compiled), tree_leaves(expected), strict=True):  # the fields too
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        if dtype == torch.float64:
            torch.testing.assert_close(ours, theirs)


def test_fpn_heads_over_the_last_map_alone(images: list[Tensor]) -> None:
    model = build(SMALL | C5_HEADS)
    losses, gradients = losses_and_gradients(model, images, targets())
    assert set(losses) == LOSSES and None not in gradients.values()
    with torch.no_grad():
        detections = model.eval()(images)
    assert all(boxlist.get_field("mask").shape[1:] == (1, 28, 28) for boxlist in detections)
    assert any(len(boxlist) for boxlist in detections)


def test_the_last_stage_dilated(images: list[Tensor]) -> None:
    """RES5_DILATION 2: the head keeps the pooler's 7x7, and masks come in 14x14 all the same."""
    options: Options = {"MODEL.RESNETS.RES5_DILATION": 2, "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7}
    model = build(SMALL | options).eval()
    with torch.no_grad():
        assert model.inference(to_image_list(images)).fields["mask_logits"].shape[-2:] == (14, 14)


@pytest.mark.parametrize(
    ("body", "groups", "channels"),
    [("R-101-C4", 1, 512), ("X-101-32x8d-C4", 32, 2048), ("R-18-C4", 1, 512), ("W-50-2-C4", 1, 1024)],
)
def test_layer4_is_the_bodys_own(body: str, groups: int, channels: int) -> None:
    with torch.device("meta"):
        head = build({"MODEL.BACKBONE.CONV_BODY": body}).roi_heads.box.feature_extractor
    conv = head.get_submodule("head.layer4.0.conv2")
    assert conv.groups == groups and conv.out_channels == channels


def test_middle_channels_of_the_rpn_head() -> None:
    with torch.device("meta"):
        head = build({"MODEL.RPN.MID_CHANNELS": 512}).rpn.head
    assert head.conv.weight.shape == (512, 1024, 3, 3) and head.cls_logits.in_channels == 512


def test_several_anchor_sizes_a_level() -> None:
    opts = {
        "MODEL.BACKBONE.CONV_BODY": "R-18-FPN",
        "MODEL.FPN.OUT_CHANNELS": 16,
        "MODEL.RPN.USE_FPN": True,
        "MODEL.ROI_HEADS.USE_FPN": True,
        "MODEL.RPN.ANCHOR_STRIDE": (4, 8, 16, 32, 64),
        **{key: value for key, value in C5_HEADS.items() if "ROI" in key},
        "MODEL.ROI_BOX_HEAD.POOLER_SCALES": (1 / 4, 1 / 8, 1 / 16, 1 / 32),
    }
    sizes = "((32, 45), (64, 90), (128, 181), (256, 362), (512, 724))"
    with torch.device("meta"):
        model = build(opts | {"MODEL.RPN.ANCHOR_SIZES": sizes})
        assert model.rpn.head.cls_logits.out_channels == 6
        with pytest.raises(ValueError, match=r"ANCHOR_SIZES.*as many sizes"):
            build(opts | {"MODEL.RPN.ANCHOR_SIZES": ((32, 45), 64, 128, 256, 512)})
    for wrong in (((32, "wide"), 64, 128, 256, 512), (32.5, 64, 128, 256, 512)):
        with pytest.raises(ConfigError, match=r"ANCHOR_SIZES\[0\].* of type"):
            build(opts | {"MODEL.RPN.ANCHOR_SIZES": wrong})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {**C5_HEADS, "MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR": True},
            r"SHARE_BOX_FEATURE_EXTRACTOR = True.*FPN2MLPFeatureExtractor gives vectors.*False",
        ),
        ({"MODEL.BACKBONE.CONV_BODY": "R-18-C5"}, r"ANCHOR_STRIDE = \(16,\).*strides \(32,\)"),
        (
            {"MODEL.ROI_MASK_HEAD.POOLER_SCALES": (0.125,)},
            r"ROI_MASK_HEAD\.POOLER_SCALES = \(0.125,\).*\(16,\)",
        ),
        (
            {**C5_HEADS, "MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR": "ResNet50Conv5ROIFeatureExtractor"},
            r"map of 64 channels.*'R-18-C5' gives 128.*-C4 body",
        ),
    ],
)
def test_errors_name_the_key_and_the_mend(options: Options, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build(SMALL | options)
