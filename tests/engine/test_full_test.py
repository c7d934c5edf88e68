"""A test on every dataset of a config: which files it leaves behind, and what it tells the trainer."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from engine import inference_case as case

from maskrcnn_benchmark.analysis.run_report import publish_results
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.engine.full_test import (
    EvaluationOptions,
    evaluate_datasets,
    flat_results,
    inference_folder,
    make_backbone_name,
    make_evaluation_options,
    run_test,
)
from maskrcnn_benchmark.engine.precision import FLOAT32

CPU = torch.device("cpu")


def make_options(folder: Path, iou_types: tuple[str, ...] = ("bbox", "segm")) -> EvaluationOptions:
    return EvaluationOptions("V-39-FPN", "Mask R-CNN", iou_types, FLOAT32, str(folder))


def test_files_of_a_run(tmp_path: Path) -> None:
    loaders: list[Any] = []
    for name, num_images in (("first", 3), ("second", 2)):
        (tmp_path / name).mkdir()
        case.write_dataset(tmp_path / name, num_images)
        loaders.append(case.make_loader(tmp_path / name))
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text(
        json.dumps({"kind": "train", "iteration": 1, "peak_rss": 512.0}) + "\n"
    )
    options = make_options(run)
    outcomes = run_test(
        case.KnowingDetector(),
        loaders,
        ("first", "second"),
        CPU,
        options,
        [loader.dataset.make_evaluator(options.iou_types) for loader in loaders],
        partial(publish_results, options, CPU),
    )
    assert [(each.name, each.results.num_images) for each in outcomes] == [("first", 3), ("second", 2)]
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    per_dataset = {"bbox.json", "segm.json", "coco_results.json", "per_class.md", "detections.png"}
    assert files == {"metrics.jsonl", "report.md"} | {
        f"inference/{name}/{file}" for name in ("first", "second") for file in per_dataset
    }
    report = (run / "report.md").read_text()
    assert "| second |" in report
    assert "0.50 GiB peak RSS" in report


def test_numbers_for_the_trainer(tmp_path: Path) -> None:
    case.write_dataset(tmp_path, 2)
    loaders: list[Any] = [case.make_loader(tmp_path)]
    evaluators = [loaders[0].dataset.make_evaluator(("bbox",))]
    found = evaluate_datasets(
        case.KnowingDetector(), loaders, ("known",), CPU, make_options(tmp_path, ("bbox",)), evaluators
    )
    numbers = flat_results({name: results for name, (results, _) in found.items()})
    assert len(numbers) == 12
    assert numbers["known/bbox/AP"] == pytest.approx(1.0)
    assert numbers["known/bbox/APl"] == -1


def test_options_of_a_config() -> None:
    given = ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 0.5, 0.1]]", "DTYPE", "bfloat16", "OUTPUT_DIR", "out"]
    config = "configs/vovnet/scratch_mask_rcnn_V_39_FPN_3x_gn.yaml"
    cfg = load_config(str(Path(__file__).parents[2] / config), given)
    options = make_evaluation_options(cfg, torch.device("cuda"), "Age R-CNN", ("bbox", "age"))
    assert (options.backbone, options.detector) == ("V-39-FPN-GN", "Age R-CNN")
    assert options.iou_types == ("bbox", "age")
    assert options.precision.dtype is torch.bfloat16
    assert [list(row) for row in options.expected_results] == [["bbox", "AP", 0.5, 0.1]]
    plain = load_config(None, ["MODEL.BACKBONE.CONV_BODY", "R-50-FPN"])
    assert make_backbone_name(plain) == "R-50-FPN"


def test_uncatalogued_datasets_get_one_folder() -> None:
    assert inference_folder("out", "shapes_val") == "out/inference/shapes_val"
    assert inference_folder("out", "/data/val.json@/data/val") == "out/inference/data_val.json__data_val"
    assert inference_folder("out", "voc://data/VOC2007:test") == "out/inference/voc_data_VOC2007_test"
