"""The detector on a GPU: the same detections as on the CPU, no wait for the device, one CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Detections
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.structures.targets import pad_targets

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CONFIGS = [
    "configs/quick/mask_rcnn_V_39_FPN_gn_shapes.yaml",
    "configs/vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml",
    "configs/e2e_faster_rcnn_R_50_FPN_2x.yaml",
]


def make_model(config: str) -> GeneralizedRCNN:
    torch.manual_seed(0)
    return build_detection_model(load_config(config, ["MODEL.ROI_HEADS.SCORE_THRESH", "0.0"])).eval()


@pytest.fixture
def images() -> ImageList:
    generator = torch.Generator().manual_seed(0)
    sizes = ((128, 160), (120, 96))
    drawn = [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]
    return to_image_list(drawn, 32)


@pytest.fixture
def exact_float32() -> Iterator[None]:
    """No TF32. (monkeypatch cannot take these settings back: they are no plain attributes.)"""
    settings = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [setting.allow_tf32 for setting in settings]
    for setting in settings:
        setting.allow_tf32 = False
    yield
    for setting, value in zip(settings, before, strict=True):
        setting.allow_tf32 = value


@pytest.mark.usefixtures("exact_float32")
@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_equals_the_cpu(config: str, images: ImageList) -> None:
    model = make_model(config)
    images_hw, batch = images.sizes, model.normalize(images)
    expected, _ = model.rpn(model.backbone(batch), images_hw)
    model.cuda()
    found, _ = model.rpn(model.backbone(batch.cuda()), images_hw.cuda())
    # Random weights score anchors nearly alike: rounding may swap neighbours, but not change the scores.
    torch.testing.assert_close(found.scores.cpu(), expected.scores, atol=1e-4, rtol=1e-3)
    assert torch.equal(found.valid.cpu().sum(1), expected.valid.sum(1))


@pytest.mark.parametrize("form", ["ImageList", "batch", "list"])
@torch.no_grad()
def test_every_form_of_input_on_the_device_is_taken_without_waiting(form: str, images: ImageList) -> None:
    model = make_model(CONFIGS[0]).cuda()
    on_device = images.tensors.cuda()
    given = {"ImageList": images.to("cuda"), "batch": on_device, "list": list(on_device)}[form]
    model.inference(given)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        model.inference(given)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_inference_never_waits_for_the_device(config: str, dtype: torch.dtype, images: ImageList) -> None:
    model, batch = make_model(config).cuda(), images.to("cuda")
    with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
        model.inference(batch)  # chooses algorithms, fills caches
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            detections = model.inference(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert detections.valid.any()
    assert torch.isfinite(detections.boxes).all() and torch.isfinite(detections.scores).all()


def test_training_step_never_waits_for_the_device(images: ImageList) -> None:
    model, batch = make_model(CONFIGS[0]).cuda().train(), images.to("cuda")
    target = BoxList(torch.tensor([[5.0, 5, 60, 70]]), (160, 128))
    target.add_field("labels", torch.tensor([1]))
    target.add_field("masks", SegmentationMask([[[5, 5, 60, 5, 60, 70]]], (160, 128)))
    targets = pad_targets([target, target], "cuda")
    sum(model(batch, targets).values()).backward()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        sum(model(batch, targets).values()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_inference_is_one_cuda_graph(images: ImageList) -> None:
    model, batch = make_model(CONFIGS[0]).cuda(), images.to("cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            expected = model.inference(batch)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = model.inference(batch)
    graph.replay()
    torch.cuda.synchronize()
    assert_same(captured, expected)


def assert_same(found: Detections, expected: Detections) -> None:
    """Equal up to the order of sums on the device."""
    assert set(found.fields) == set(expected.fields) == {"mask_logits"}
    assert torch.equal(found.valid, expected.valid)
    assert torch.equal(found.labels, expected.labels)
    pairs = [(getattr(found, name), getattr(expected, name)) for name in ("scores", "boxes")]
    for one, other in (*pairs, (found.fields["mask_logits"], expected.fields["mask_logits"])):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
