"""The drawn images against COCO's published facts, and the load of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark.tiny_case import tiny_cfg, tiny_detector

from maskrcnn_benchmark.benchmark.measure.coco_statistics import coco_statistics
from maskrcnn_benchmark.benchmark.measure.images import DrawnImages, is_upright, make_images
from maskrcnn_benchmark.benchmark.measure.inference import measure_split
from maskrcnn_benchmark.benchmark.run.options import QUICK_SIZE

COCO_OBJECTS_PER_IMAGE = 849949 / 117266  # train2017, without crowds, images with objects
COCO_SMALL, COCO_MEDIUM = 32**2, 96**2


def test_objects_are_as_many_as_in_coco() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([coco_statistics().draw_count(rng) for _ in range(20000)])
    assert counts.min() == 1
    assert counts.max() <= 93
    assert counts.mean() == pytest.approx(COCO_OBJECTS_PER_IMAGE, rel=0.03)
    assert 4 <= np.median(counts) <= 5
    assert 30 <= np.quantile(counts, 0.99) <= 40


def test_objects_are_as_large_as_in_coco() -> None:
    rng = np.random.default_rng(0)
    drawn = [coco_statistics().draw_object(rng, (640, 480), 81) for _ in range(4000)]
    boxes = np.array([each.box for each in drawn])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert (areas < COCO_SMALL).mean() == pytest.approx(0.41, abs=0.03)
    assert (areas < COCO_MEDIUM).mean() == pytest.approx(0.75, abs=0.03)
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= (639, 479)).all()
    assert {each.label for each in drawn} == set(range(1, 81))
    for each in drawn[:100]:
        assert (each.outline >= np.array(each.box[:2]) - 1e-3).all()
        assert (each.outline <= np.array(each.box[2:]) + 1e-3).all()


def test_images_have_the_sizes_that_training_gives() -> None:
    images = DrawnImages(800, 1333, 81, True)
    for index in range(10):
        image, target, original = images.test_image(index)
        short, long = sorted(image.shape[1:])
        assert image.dtype == torch.uint8
        assert (short == 800 and long <= 1333) or (long == 1333 and short < 800)
        assert image.shape[1] / image.shape[2] == pytest.approx(original[1] / original[0], rel=0.01)
        assert target.size == (image.shape[2], image.shape[1])
        assert len(target.get_field("masks")) == len(target) >= 1


def test_the_same_index_gives_the_same_image_and_another_another() -> None:
    images = DrawnImages(64, 100, 81, False)
    first, again, other = (images.test_image(index) for index in (0, 0, 1))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.target.bbox, again.target.bbox)
    assert not torch.equal(first.image, other.image[:, : first.image.shape[1], : first.image.shape[2]])
    assert not first.target.has_field("masks")


def test_a_batch_is_of_one_orientation() -> None:
    images = DrawnImages(64, 100, 81, False)
    batches = [images.train_batch(step, 4) for step in range(12)]
    orientations = [{is_upright(sample.original_wh) for sample in batch} for batch in batches]
    assert all(len(found) == 1 for found in orientations)
    assert {True, False} == set.union(*orientations)


def test_random_weights_carry_a_realistic_load(tmp_path: Path) -> None:
    cfg = tiny_cfg(tmp_path, QUICK_SIZE)
    images, subject = make_images(cfg, None, seed=0), tiny_detector(cfg)
    assert images.source == "COCO statistics"
    with torch.no_grad():
        how = subject.scale_random_weights(images)
    _, load = measure_split(subject, images, 4, True, how)
    assert 900 <= load.proposals <= 1000
    assert 90 <= load.detections <= 100
    assert "random weights" in load.how
