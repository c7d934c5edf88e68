"""Weights and a dataset: AP by the same evaluator as a test, and weights of another row refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmark.tiny_case import SIZE, tiny_config, tiny_settings
from engine.inference_case import write_dataset

from maskrcnn_benchmark.benchmark.measure.accuracy import measure_ap
from maskrcnn_benchmark.benchmark.row import AveragePrecision
from maskrcnn_benchmark.benchmark.run.job import PARTS, Job
from maskrcnn_benchmark.benchmark.run.plan import plan_rows
from maskrcnn_benchmark.benchmark.run.ready_row import make_ready_row
from maskrcnn_benchmark.benchmark.run.selection import RowSpec
from maskrcnn_benchmark.engine.full_test import run_test

CPU = torch.device("cpu")


def job_with_data(folder: Path, body: str = "V-27-slim-FPN") -> Job:
    """A row with a dataset of three images; its weights file is still to be written."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    write_dataset(data, 3)
    config = Path(tiny_config(folder, body))
    text = config.read_text().replace("V-27-slim-FPN", body)
    config.write_text(text.replace("MLP_HEAD_DIM: 64", "MLP_HEAD_DIM: 64\n    NUM_CLASSES: 3"))
    dataset = f"{next(data.glob('*.json'))}@{data}"
    settings = replace(tiny_settings(), dataset=dataset, sizes_from=dataset)
    row = plan_rows([RowSpec("row", str(config))], settings, "cpu", {"row": str(folder / "row.pth")})[0]
    return row.job(PARTS, settings, folder)


def save_weights(job: Job) -> None:
    """The job's own random weights as its weights file."""
    torch.manual_seed(0)
    ready = make_ready_row(replace(job, weights=None), CPU)
    with torch.no_grad():
        ready.load_weights()
    assert job.weights is not None
    torch.save({"model": ready.subject.model.state_dict()}, job.weights)


def test_ap_is_that_of_a_test(tmp_path: Path) -> None:
    job = job_with_data(tmp_path)
    save_weights(job)
    ready = make_ready_row(job, CPU)
    assert "row.pth" in ready.load_weights()
    assert ready.scoring is not None
    found = measure_ap(ready.subject.model, ready.scoring, str(job.weights), CPU)
    assert isinstance(found, AveragePrecision)
    assert (found.num_images, found.weights) == (3, "row.pth")
    names = (ready.scoring.dataset,)
    (row,) = run_test(ready.subject.model, ready.scoring.data_loaders, names, CPU, ready.scoring.options)
    for scores, kind in ((found.box, "bbox"), (found.mask, "segm")):
        assert scores is not None
        expected = {name: None if value < 0 else value for name, value in row.results.results[kind].items()}
        assert scores == expected
        assert None in scores.values(), "no large object in these images"


def test_images_are_those_of_the_dataset(tmp_path: Path) -> None:
    images = make_ready_row(replace(job_with_data(tmp_path), weights=None), CPU).images
    sample = images.test_image(4)
    assert sample.original_wh == (60, 40)
    assert sorted(sample.image.shape[1:]) == [SIZE[0], 192]
    assert sample.image.float().mean() == pytest.approx(1, abs=0.5), (
        "image 4 of 3 is image 1, of brightness 1"
    )
    assert len(images.train_batch(0, 2)) == 2


def test_weights_of_another_row_are_refused(tmp_path: Path) -> None:
    save_weights(job_with_data(tmp_path))
    other = make_ready_row(job_with_data(tmp_path, "V-39-FPN"), CPU)
    with pytest.raises(ValueError, match=r"row\.pth"):
        other.load_weights()


def test_classes_that_the_weights_do_not_know_are_refused(tmp_path: Path) -> None:
    """As many classes, but not the dataset's: AP would be that of other objects."""
    job = job_with_data(tmp_path)
    save_weights(job)
    assert job.weights is not None
    content = torch.load(job.weights, weights_only=True)
    names = ["__background__", "this", "that"]
    description = {"format": "maskrcnn_benchmark", "version": 1, "config": "", "class_names": names}
    torch.save(description | content, job.weights)
    with pytest.raises(ValueError, match="the file does not know the data's classes 2"):
        make_ready_row(job, CPU).load_weights()


def test_a_body_alone_is_refused(tmp_path: Path) -> None:
    """Its row would be that of random heads."""
    job = job_with_data(tmp_path)
    save_weights(job)
    assert job.weights is not None
    state = torch.load(job.weights, weights_only=True)["model"]
    torch.save({name: tensor for name, tensor in state.items() if ".body." in name}, job.weights)
    with pytest.raises(ValueError, match=r"row\.pth: a body alone \(V-27-slim\)"):
        make_ready_row(job, CPU).load_weights()
