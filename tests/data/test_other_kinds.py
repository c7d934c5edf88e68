"""From outside the package, by config keys alone: a dataset format, its evaluator, a transform."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from engine import inference_case as case

from maskrcnn_benchmark.analysis.run_report import publish_results
from maskrcnn_benchmark.config import ConfigNode, load_config
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.datasets import EVALUATORS, DatasetError
from maskrcnn_benchmark.data.datasets.evaluation import evaluate, make_evaluators
from maskrcnn_benchmark.engine.full_test import make_evaluation_options, run_test
from maskrcnn_benchmark.engine.inference import inference
from maskrcnn_benchmark.modeling.detector import build_detection_model

OWN_FILE = str(Path(__file__).with_name("toy_kind.py"))
NUM_IMAGES = 4
SMALL = """
MODEL:
  BACKBONE: {CONV_BODY: "V-27-slim-FPN", FREEZE_CONV_BODY_AT: 0}
  VOVNET: {BACKBONE_OUT_CHANNELS: 32}
  RPN: {USE_FPN: True, ANCHOR_STRIDE: [4, 8, 16, 32, 64]}
  ROI_HEADS: {USE_FPN: True, BATCH_SIZE_PER_IMAGE: 16}
  ROI_BOX_HEAD:
    {FEATURE_EXTRACTOR: "FPN2MLPFeatureExtractor", PREDICTOR: "FPNPredictor", POOLER_RESOLUTION: 7,
     POOLER_SAMPLING_RATIO: 2, POOLER_SCALES: [0.25, 0.125, 0.0625, 0.03125], MLP_HEAD_DIM: 32}
DATALOADER: {SIZE_DIVISIBILITY: 32}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """toys/ with images of `inference_case` and their objects, in COCO's format and in the toy one."""
    toys = tmp_path / "toys"
    toys.mkdir()
    case.write_dataset(toys, NUM_IMAGES)
    lines = [
        f"{i}.png {case.WIDTH} {case.HEIGHT} {('even', 'odd')[i % 2]} {5 + i} {3 + i} 20 15"
        for i in range(NUM_IMAGES)
    ]
    (toys / "objects.txt").write_text("\n".join(["even odd", *lines]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(*given: object, own_file: str = OWN_FILE, file: str | None = None) -> ConfigNode:
    small = ("INPUT.MIN_SIZE_TRAIN", (80,), "INPUT.MIN_SIZE_TEST", 80, "DATALOADER.NUM_WORKERS", 0)
    solver = ("SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 2, "MODEL.ROI_BOX_HEAD.NUM_CLASSES", 3)
    return load_config(file, [str(item) for item in (*small, *solver, "PATHS_CATALOG", own_file, *given)])


@pytest.mark.parametrize("name", ["toys", "toy://toys/objects.txt"])
def test_another_format_is_tested_by_its_own_evaluator(folder: Path, name: str) -> None:
    cfg = config("DATASETS.TEST", f"('{name}',)", "OUTPUT_DIR", folder / "run", "TEST.IMS_PER_BATCH", 2)
    loaders = make_data_loader(cfg, is_train=False)
    options = make_evaluation_options(cfg, torch.device("cpu"), "Knowing R-CNN", ("bbox", "age"))
    evaluators = make_evaluators(cfg, loaders, options.iou_types)
    publish = partial(publish_results, options, torch.device("cpu"))
    (outcome,) = run_test(
        case.KnowingDetector(), loaders, cfg.DATASETS.TEST, torch.device("cpu"), options, evaluators, publish
    )
    assert outcome.results.results == {"bbox": {"hits": 1.0}}
    files = {path.name for path in (folder / "run").rglob("*") if path.is_file()}
    assert files == {"hits.txt", "detections.png", "report.md"}
    report = (folder / "run" / "report.md").read_text()
    assert "| Box hits |" in report and "100.0 |" in report and "Knowing R-CNN" in report
    assert "| class |" not in report, "this evaluator tells no classes apart"


def test_inference_and_evaluate_ask_the_dataset_for_its_evaluator(folder: Path) -> None:
    cfg = config("DATASETS.TEST", "('toy://toys/objects.txt',)")
    (loader,) = make_data_loader(cfg, is_train=False)
    found = inference(
        case.KnowingDetector(), loader, "toys", device="cpu", expected_results=[["bbox", "hits", 0.5, 0.1]]
    )
    assert found is not None
    results, predictions = found
    assert results.failed_expectations == ["bbox hits: 1.0000 is outside 0.1000 .. 0.9000"]
    wrong = [each._replace(category_ids=3 - each.category_ids) for each in predictions]
    assert evaluate(loader.dataset, wrong, None).results == {"bbox": {"hits": 0.0}}


def test_the_config_may_name_another_evaluator(folder: Path) -> None:
    cfg = config("DATASETS.TEST", "('toys',)", "TEST.EVALUATOR", "toy_count")
    loaders = make_data_loader(cfg, is_train=False)
    (evaluator,) = make_evaluators(cfg, loaders, ("bbox",))
    found = inference(case.KnowingDetector(), loaders[0], "toys", device="cpu", evaluator=evaluator)
    assert found is not None and found[0].results == {"bbox": {"per_image": 1.0}}
    with pytest.raises(ValueError, match=r"TEST\.EVALUATOR = 'toy_cuont' is not known; nearest: toy_count"):
        make_evaluators(config("TEST.EVALUATOR", "toy_cuont"), loaders, ("bbox",))
    with pytest.raises(ValueError, match=r"\['bbox', 'AP', 0.5, 0.1\] names an unknown.*metrics: hits"):
        make_evaluators(config("TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 0.5, 0.1]]"), loaders, ("bbox",))


def test_an_evaluator_is_asked_for_what_it_knows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A head whose predictions nobody scores breaks nothing; the log says that nobody does."""
    asked: list[tuple[str, ...]] = []

    class Ages:
        metrics: ClassVar[dict[str, tuple[str, ...]]] = {"bbox": ("hits",), "age": ("error",)}

        def __init__(self, dataset: Any, iou_types: tuple[str, ...]) -> None:
            asked.append(iou_types)

    monkeypatch.setitem(EVALUATORS, "ages", Ages)
    coco = ("DATASETS.TEST", "('coco://toys/annotations.json@toys',)")
    loaders = make_data_loader(config(*coco), is_train=False)
    caplog.clear()
    with caplog.at_level("INFO", logger="maskrcnn_benchmark.inference"):
        make_evaluators(config(*coco, "TEST.EVALUATOR", "ages"), loaders, ("bbox", "age"))
        assert asked == [("bbox", "age")] and not caplog.messages
        (evaluator,) = make_evaluators(config(*coco), loaders, ("bbox", "age"))
    assert getattr(evaluator, "iou_types", None) == ("bbox",)
    (line,) = caplog.messages
    assert line.startswith("Not scored: age of the model; the evaluator 'coco' knows bbox, segm")


def batch(*given: object) -> tuple[Any, Any, Any]:
    images, targets, indices = next(iter(make_data_loader(config("SEED", 3, *given))))
    return images, targets, indices


def test_training_with_a_transform_from_outside(folder: Path) -> None:
    train = ("DATASETS.TRAIN", "('toys',)")
    names = "('color_jitter', 'resize', 'invert', 'horizontal_flip', 'vertical_flip')"
    images, targets, indices = batch(*train)
    inverted, same_targets, same_indices = batch(*train, "INPUT.TRANSFORMS_TRAIN", names)
    assert indices == same_indices
    assert (images.tensors != 0).any()
    assert torch.equal(inverted.tensors, 255 - images.tensors)
    for target, same, index in zip(targets, same_targets, indices, strict=True):
        assert torch.equal(target.bbox, same.bbox), "the random flips are the same"
        assert target.get_field("labels").tolist() == [1 + index % 2]
    with pytest.raises(ValueError, match=r"INPUT\.TRANSFORMS_TRAIN = 'invret' is not known; nearest: invert"):
        batch(*train, "INPUT.TRANSFORMS_TRAIN", "('invret',)")


def test_two_iterations_of_training(folder: Path) -> None:
    """A small detector learns from the toy format, through the transform."""
    file = folder / "small.yaml"
    file.write_text(SMALL)
    cfg = config(
        *("DATASETS.TRAIN", "('toys',)", "INPUT.TRANSFORMS_TRAIN", "('resize', 'invert')"), file=str(file)
    )
    torch.manual_seed(0)
    model = build_detection_model(cfg).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for images, targets, _ in make_data_loader(cfg):
        loss = sum(model(images, targets).values())
        assert torch.isfinite(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_two_kinds_are_joined_in_training(folder: Path) -> None:
    coco = "coco://toys/annotations.json@toys"
    cfg = config("DATASETS.TRAIN", f"('toys', '{coco}')")
    dataset = make_data_loader(cfg).dataset
    assert len(dataset) == 2 * NUM_IMAGES
    for index in range(NUM_IMAGES):
        (toy, toy_target, _), (image, target, _) = dataset[index], dataset[index + NUM_IMAGES]
        assert torch.equal(toy, image)
        assert toy_target.get_field("labels").tolist() == target.get_field("labels").tolist()
    assert dataset.aspect_ratios().tolist() == [40 / 60] * (2 * NUM_IMAGES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tooy://toys/objects.txt", r"'tooy' is not known; nearest: toy"),
        ("toy://toys/none.txt", r"toys/none\.txt does not exist; correct the entry, written kind://location"),
        ("toy://", r"write kind://location"),
        ("coco://toys", r"write annotations\.json@image_folder"),
        ("playthings", r"DatasetCatalog\.get\('playthings'\): RuntimeError: there is no playthings here"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_data_loader(config("DATASETS.TEST", f"('{name}',)"), is_train=False)


def test_a_file_without_a_catalogue_keeps_ours(folder: Path) -> None:
    (folder / "empty.py").write_text("")
    with pytest.raises(DatasetError, match=r"datasets/shapes/.*draw the dataset with"):
        make_data_loader(config("DATASETS.TEST", "('shapes_val',)", own_file="empty.py"), is_train=False)


def test_a_catalogue_that_gives_no_entry(folder: Path) -> None:
    (folder / "own.py").write_text("class DatasetCatalog:\n    get = staticmethod(lambda name: name)\n")
    with pytest.raises(ValueError, match=r"own\.py.*gives 'toys'; it should be \{'factory': KIND"):
        make_data_loader(config("DATASETS.TEST", "('toys',)", own_file="own.py"), is_train=False)


def test_loading_a_config_runs_nothing(folder: Path) -> None:
    (folder / "noisy.py").write_text("raise RuntimeError('it ran')\n")
    cfg = config("DATASETS.TEST", "('toys',)", own_file="noisy.py")
    assert not [name for name in sys.modules if "noisy" in name]
    with pytest.raises(ValueError, match=r"PATHS_CATALOG = 'noisy\.py': RuntimeError .*it ran"):
        make_data_loader(cfg, is_train=False)
