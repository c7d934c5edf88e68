"""A head, and a detector, from a user's own file: nothing in the package is edited for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from engine import inference_case as case
from modeling.test_c4 import C5_HEADS, LOSSES, SMALL, Options, build, losses_and_gradients, targets
from torch import Tensor

from maskrcnn_benchmark.commands.train import build_tester
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.data.datasets import EVALUATORS, DetectionDataset
from maskrcnn_benchmark.data.datasets.detection_dataset import predictions_of_index
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.modeling.registry import DETECTORS, ROI_HEADS
from maskrcnn_benchmark.modeling.roi_heads.regions import Regions
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import Detections
from maskrcnn_benchmark.structures.evaluation import Deciding, EvaluationResults
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list
from maskrcnn_benchmark.structures.image_predictions import ImagePredictions
from maskrcnn_benchmark.utils.user_module import import_user_module

GUESTS = Path(__file__).with_name("guests")
FASTER: Options = SMALL | C5_HEADS | {"MODEL.MASK_ON": False}


@pytest.fixture(autouse=True)
def guests() -> Iterator[None]:
    """The user's files imported, and what they registered for the time of the test alone."""
    own = [dict(registry) for registry in (ROI_HEADS, DETECTORS)]
    modules = [import_user_module(str(GUESTS / name), "IMPORTS") for name in ("heads.py", "one_stage.py")]
    for registry, key in ((ROI_HEADS, "build_{}_head"), (DETECTORS, "build_{}")):
        for name in ("age", "shrink", "twice", "absent", "Centers"):
            for module in modules:  # imported once in a process: registered again in the next test
                if builder := getattr(module, key.format(name.lower()), None):
                    registry[name] = builder
    yield
    for registry, before in zip((ROI_HEADS, DETECTORS), own, strict=True):
        registry.clear()
        registry.update(before)


@pytest.mark.parametrize(
    ("key", "value", "kind", "iou_types"),
    [
        ("MODEL.ROI_HEADS.EXTRA", "('age',)", "Age R-CNN", ("bbox", "age")),
        ("MODEL.META_ARCHITECTURE", "Centers", "Centers", ("bbox",)),
    ],
)
def test_a_test_takes_name_and_types_from_the_model(
    tmp_path: Path, key: str, value: str, kind: str, iou_types: tuple[str, ...]
) -> None:
    case.write_dataset(tmp_path, 2)
    dataset = f"('coco://{tmp_path}/annotations.json@{tmp_path}',)"
    given = ("DATASETS.TEST", dataset, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", "3", "DATALOADER.NUM_WORKERS", "0")
    cfg = load_config(None, [key, value, *given])
    tester = build_tester(cfg, build_detection_model(cfg), torch.device("cpu"))
    assert (tester.options.detector, tester.options.iou_types) == (kind, iou_types)
    assert len(tester.evaluators) == 1


class Ages:
    """The mean age that the head gives the detections."""

    metrics: ClassVar[dict[str, tuple[str, ...]]] = {"bbox": ("AP",), "age": ("mean",)}
    deciding = Deciding(("age/mean",))

    def __init__(self, dataset: DetectionDataset, iou_types: tuple[str, ...]) -> None:
        assert iou_types == ("bbox", "age")
        self.dataset = dataset

    def encode(self, index: int, prediction: BoxList) -> ImagePredictions:
        fields = ("age_in_months",)
        return predictions_of_index(self.dataset, index, prediction, with_masks=False, fields=fields)

    def score(self, predictions: list[ImagePredictions], output_folder: str | None) -> EvaluationResults:
        assert all(len(each.fields["age_in_months"]) == len(each.boxes) for each in predictions)
        ages = np.concatenate([each.fields["age_in_months"] for each in predictions]) / 12
        return EvaluationResults({"age": {"mean": float(ages.mean())}}, {}, len(predictions), len(ages))


def test_a_heads_own_field_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EVALUATORS, "ages", Ages)
    case.write_dataset(tmp_path, 2)
    dataset = f"('coco://{tmp_path}/annotations.json@{tmp_path}',)"
    options = FASTER | {"MODEL.ROI_HEADS.EXTRA": "('age',)", "MODEL.ROI_HEADS.SCORE_THRESH": 0.0}
    options |= {"DATASETS.TEST": dataset, "TEST.EVALUATOR": "ages", "MODEL.ROI_BOX_HEAD.NUM_CLASSES": 3}
    options |= {"INPUT.MIN_SIZE_TEST": 64, "DATALOADER.NUM_WORKERS": 0, "OUTPUT_DIR": str(tmp_path)}
    cfg = load_config(None, [str(item) for pair in options.items() for item in pair])
    model = build_detection_model(cfg)
    for weights in model.roi_heads.age.fc.parameters():  # type: ignore[union-attr]
        torch.nn.init.zeros_(weights)
    torch.nn.init.constant_(model.roi_heads.age.fc.bias, 0.25)  # type: ignore[union-attr]
    tester = build_tester(cfg, model, torch.device("cpu"))
    (number,) = tester(is_last=False).values()
    assert number == pytest.approx(0.25)


def test_a_field_that_no_head_gives_is_named(tmp_path: Path) -> None:
    case.write_dataset(tmp_path, 1)
    dataset = case.make_loader(tmp_path).dataset
    (prediction,) = case.KnowingDetector()(to_image_list([torch.zeros(3, 80, 120)]))
    with pytest.raises(ValueError, match="field 'size'; the detector's are: scores, labels, mask"):
        predictions_of_index(dataset, 0, prediction, with_masks=False, fields=("size",))


@pytest.fixture
def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((64, 96), (80, 72))
    return [torch.randint(0, 256, (3, h, w), dtype=torch.uint8, generator=generator) for h, w in sizes]


def aged_targets(num_objects: tuple[int, int] = (2, 1)) -> list[BoxList]:
    result = targets(num_objects)
    for target in result:
        target.add_field("age", torch.arange(len(target)) + 30.0)
    return result


@pytest.mark.parametrize("options", [FASTER, SMALL], ids=["FPN heads", "C4 with masks"])
def test_a_head_joins_the_others(options: Options, images: list[Tensor]) -> None:
    model = build(options | {"MODEL.ROI_HEADS.EXTRA": ("age",)})
    plain = build(options)
    assert list(model.roi_heads) == [*plain.roi_heads, "age"]
    assert model.kind == "Age R-CNN" and model.iou_types == (*plain.iou_types, "age")
    own = set(model.state_dict()) - set(plain.state_dict())
    assert own and all(name.startswith("roi_heads.age.") for name in own)
    losses, gradients = losses_and_gradients(model, images, aged_targets())
    assert set(losses) == (LOSSES if "mask" in model.roi_heads else LOSSES - {"loss_mask"}) | {"loss_age"}
    assert losses["loss_age"] > 20, "about 30 years off, as the first guess is near 0"
    assert None not in gradients.values() and gradients["roi_heads.age.fc.weight"].abs().max() > 0
    with torch.no_grad():
        model.eval()
        found = model(images)
        padded = model.inference(images)
    for i, boxlist in enumerate(found):
        assert len(boxlist) > 0
        ages = padded.fields["age"][i, : len(boxlist)]
        assert torch.equal(boxlist.get_field("age_in_months"), 12 * ages)
        assert boxlist.has_field("mask") == ("mask" in model.roi_heads)


@pytest.mark.parametrize("with_field", [True, False])
def test_every_process_runs_it_without_an_object_too(with_field: bool, images: list[Tensor]) -> None:
    model = build(FASTER | {"MODEL.ROI_HEADS.EXTRA": ("age",)})
    nothing = aged_targets((0, 0)) if with_field else targets((0, 0))
    losses, gradients = losses_and_gradients(model, images, nothing)
    assert losses["loss_age"] == 0
    assert None not in gradients.values()


def test_a_field_that_the_head_needs_is_named(images: list[Tensor]) -> None:
    model = build(FASTER | {"MODEL.ROI_HEADS.EXTRA": ("age",)})
    with pytest.raises(ValueError, match=r"target 0 of the batch has no field 'age'.*needs"):
        model.train()(images, targets())
    plain = [
        {"boxes": target.bbox, "labels": target.get_field("labels"), "age": [40.0] * len(target)}
        for target in targets()
    ]
    assert model(images, plain)["loss_age"] > 20


def test_a_shared_extractor_runs_once_in_training(images: list[Tensor]) -> None:
    model = build(FASTER | {"MODEL.ROI_HEADS.EXTRA": ("age",)}).train()
    calls: list[int] = []
    model.roi_heads.box.feature_extractor.register_forward_hook(lambda *_: calls.append(1))
    model(images, aged_targets())
    assert calls == [1]


def test_a_head_that_moves_boxes_hands_them_to_the_next(
    images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    model = build(FASTER | {"MODEL.ROI_HEADS.EXTRA": ("shrink", "age")})
    age = model.roi_heads["age"]
    forward = age.forward

    def look(regions: Regions) -> Tensor:
        seen.append(regions.boxes)
        return forward(regions)

    monkeypatch.setattr(age, "forward", look)
    calls: list[int] = []
    model.roi_heads.box.feature_extractor.register_forward_hook(lambda *_: calls.append(1))
    sampled: list[Tensor] = []
    sample = model.roi_heads.sample
    monkeypatch.setattr(
        model.roi_heads, "sample", lambda *given: sampled.append((s := sample(*given)).boxes) or s
    )
    model.train()(images, aged_targets())
    before, after = sampled[0][:, : seen[0].shape[1]], seen[0]
    torch.testing.assert_close(after[..., 2] - after[..., 0], (before[..., 2] - before[..., 0]) / 2)
    assert calls == [1, 1], "features of other boxes are other features"
    with torch.no_grad():
        whole = build(FASTER).eval()(images)
        halved = model.eval()(images)
    for one, other in zip(whole, halved, strict=True):
        torch.testing.assert_close(
            other.bbox[:, 2] - other.bbox[:, 0], (one.bbox[:, 2] - one.bbox[:, 0]) / 2, rtol=1e-4, atol=1e-3
        )


def test_with_a_guest_inference_is_one_graph(images: list[Tensor]) -> None:
    """In float64: in float32 rounding may put detections of nearly equal score in another order."""
    model = build(FASTER | {"MODEL.ROI_HEADS.EXTRA": ("age",)}).double().eval()
    batch = to_image_list(images, 32)

    def infer(tensors: Tensor, sizes: Tensor) -> Detections:
        return model.inference(ImageList(tensors, batch.image_sizes, sizes))

    with torch.no_grad():
        compiled = torch.compile(infer, fullgraph=True, backend="eager")(batch.tensors, batch.sizes)
        expected = model.inference(batch)
    assert torch.equal(compiled.valid, expected.valid)
    for one, other in ((compiled.boxes, expected.boxes), (compiled.fields["age"], expected.fields["age"])):
        torch.testing.assert_close(one[expected.valid], other[expected.valid])


def test_mistakes_are_named(images: list[Tensor]) -> None:
    with pytest.raises(ValueError, match=r"MODEL\.ROI_HEADS\.EXTRA = 'agee' is not known; nearest: age"):
        build(FASTER | {"MODEL.ROI_HEADS.EXTRA": ("agee",)})
    with pytest.raises(ValueError, match=r"EXTRA = \('age', 'mask'\).*mask would be there twice"):
        build(FASTER | {"MODEL.ROI_HEADS.EXTRA": ("age", "mask")})
    model = build(FASTER | {"MODEL.ROI_HEADS.EXTRA": ("twice",)})
    with pytest.raises(ValueError, match="head 'twice' gives loss_classifier, as an earlier head does"):
        model.train()(images, targets())
    with pytest.raises(ValueError, match=r"META_ARCHITECTURE = 'Center' is not known; nearest: Centers"):
        build(FASTER | {"MODEL.META_ARCHITECTURE": "Center"})
    detections = Detections(*(torch.zeros(2, 3, 4), *(torch.zeros(2, 3) for _ in range(3))), {})
    with pytest.raises(ValueError, match=r"field 'age' is \(2, 4\); it must begin with \(2, 3\)"):
        detections.with_field("age", torch.zeros(2, 4))


def test_a_head_that_its_builder_leaves_out_is_not_there() -> None:
    assert list(build(FASTER | {"MODEL.ROI_HEADS.EXTRA": ("absent",)}).roi_heads) == ["box"]


def test_a_detector_of_another_kind_learns_and_detects(images: list[Tensor]) -> None:
    options: Options = {
        "MODEL.META_ARCHITECTURE": "Centers",
        "MODEL.BACKBONE.CONV_BODY": "R-18-FPN",
        "MODEL.RESNETS.BACKBONE_OUT_CHANNELS": 16,
        "DATALOADER.SIZE_DIVISIBILITY": 32,
    }
    model = build(options)
    assert (model.kind, model.iou_types, model.size_divisible) == ("Centers", ("bbox",), 32)
    wanted = targets()
    for target in wanted:
        target.extra_fields["labels"].fill_(1)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6)
    values = []
    for _ in range(4):
        losses, _ = losses_and_gradients(model, images, wanted)
        assert set(losses) == {"loss_center"}
        values.append(losses["loss_center"].item())
        optimizer.step()
    assert values[-1] < values[0]
    with torch.no_grad():
        found = model.eval()(images)
    assert [(len(boxlist), boxlist.fields()) for boxlist in found] == [(5, ["scores", "labels"])] * 2
    model.plain_dicts = True
    with torch.no_grad():
        assert set(model(images)[0]) == {"boxes", "labels", "scores"}


def test_names_of_the_packages_own() -> None:
    assert (build(SMALL).kind, build(SMALL).iou_types) == ("Mask R-CNN", ("bbox", "segm"))
    assert (build(FASTER).kind, build(FASTER).iou_types) == ("Faster R-CNN", ("bbox",))
