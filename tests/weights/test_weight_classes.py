"""Detectors for other classes: rows matched by name, the rest anew in training, refused in testing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from weights.small_detector import small_detector

from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from maskrcnn_benchmark.weights.classes import COCO_CLASSES
from maskrcnn_benchmark.weights.load import Purpose

BACKGROUND = "__background__"
LAYERS = {  # rows of a class
    "roi_heads.box.predictor.cls_score": 1,
    "roi_heads.box.predictor.bbox_pred": 4,
    "roi_heads.mask.predictor.mask_fcn_logits": 1,
}


def detector_file(folder: Path, num_classes: int, names: tuple[str, ...] | None) -> Path:
    """A detector saved with class names, or a published one's file without."""
    model = small_detector(num_classes)
    path = folder / "w.pth"
    if names is None:
        torch.save({"model": model.state_dict()}, path)
    else:
        Checkpointer(model, save_dir=folder, class_names=(BACKGROUND, *names)).save("w")
    return path


def rows_of(state: dict[str, Tensor], layer: str, kind: str, label: int) -> Tensor:
    return state[f"{layer}.{kind}"].unflatten(0, (-1, LAYERS[layer]))[label]


def assert_rows(model: torch.nn.Module, expected: list[tuple[dict[str, Tensor], int]]) -> None:
    """Row i of every class-dependent layer is that of the state and label at i."""
    state = model.state_dict()
    for layer in LAYERS:
        for kind in ("weight", "bias"):
            for label, (source, row) in enumerate(expected):
                assert torch.equal(rows_of(state, layer, kind, label), rows_of(source, layer, kind, row))


def assert_rest_is(model: torch.nn.Module, source: dict[str, Tensor]) -> None:
    for key, tensor in model.state_dict().items():
        if not key.startswith(tuple(LAYERS)):
            assert torch.equal(tensor, source[key]), key


def test_fine_tuning_for_another_number_of_classes(tmp_path: Path) -> None:
    """No surgery: the body and the heads load, the class-dependent layers begin anew, in one table."""
    path = detector_file(tmp_path, 4, ("circle", "square", "triangle"))
    first, model = small_detector(4).state_dict(), small_detector(3, seed=1)
    initial = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    report = Checkpointer(model, class_names=(BACKGROUND, "cat", "dog")).load(path, Purpose.TRAINING)
    assert_rest_is(model, first)
    assert_rows(model, [(initial, 0), (initial, 1), (initial, 2)])
    table = str(report)
    assert "roi_heads.box.predictor.bbox_pred.weight         16 x 16          12 x 16" in table
    assert "taken by name: none; new, still random: __background__, cat, dog" in table
    assert (report.kept, report.unused) == ([], [])


def test_common_names_keep_their_rows(tmp_path: Path) -> None:
    path = detector_file(tmp_path, 4, ("circle", "square", "triangle"))
    first, model = small_detector(4).state_dict(), small_detector(5, seed=1)
    initial = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    names = (BACKGROUND, "star", "triangle", "circle", "moon")
    report = Checkpointer(model, class_names=names).load(path, Purpose.TRAINING)
    assert_rows(model, [(first, 0), (initial, 1), (first, 3), (first, 1), (initial, 4)])
    assert_rest_is(model, first)
    assert "taken by name: __background__, triangle, circle; new, still random: star, moon" in str(report)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_equal_classes_in_another_order(tmp_path: Path, purpose: Purpose) -> None:
    """Nothing is lost by putting them right, so testing does it, too."""
    path = detector_file(tmp_path, 4, ("circle", "square", "triangle"))
    first, model = small_detector(4).state_dict(), small_detector(4, seed=1)
    names = (BACKGROUND, "triangle", "circle", "square")
    Checkpointer(model, class_names=names).load(path, purpose)
    assert_rows(model, [(first, 0), (first, 3), (first, 1), (first, 2)])


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("names", [("fish", "fish"), (BACKGROUND, "fish"), ("background", "background")])
def test_names_that_are_not_unique_load_as_they_were(
    tmp_path: Path, names: tuple[str, ...], purpose: Purpose
) -> None:
    """An export's root category has the class's name; a category is called like the background."""
    path = detector_file(tmp_path, 3, names)
    first, model = small_detector(3).state_dict(), small_detector(3, seed=1)
    report = Checkpointer(model, class_names=(BACKGROUND, *names)).load(path, purpose)
    assert report.classes is None
    assert all(torch.equal(tensor, first[key]) for key, tensor in model.state_dict().items())


def test_classes_of_one_name_are_taken_in_their_order(tmp_path: Path) -> None:
    path = detector_file(tmp_path, 4, ("fish", "cat", "fish"))
    first, model = small_detector(4).state_dict(), small_detector(4, seed=1)
    Checkpointer(model, class_names=(BACKGROUND, "fish", "fish", "cat")).load(path, Purpose.USE)
    assert_rows(model, [(first, 0), (first, 1), (first, 3), (first, 2)])


def test_a_class_more_of_one_name_is_new(tmp_path: Path) -> None:
    path = detector_file(tmp_path, 4, ("fish", "cat", "dog"))
    first, model = small_detector(4).state_dict(), small_detector(4, seed=1)
    initial = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    names = (BACKGROUND, "fish", "fish", "cat")
    with pytest.raises(ValueError, match=r"more classes of one name than the file: 1 \(fish\)"):
        Checkpointer(model, class_names=names).load(path, Purpose.USE)
    Checkpointer(model, class_names=names).load(path, Purpose.TRAINING)
    assert_rows(model, [(first, 0), (first, 1), (initial, 2), (first, 2)])


@pytest.mark.parametrize(
    ("num_classes", "names", "words"),
    [
        (
            3,
            ("circle", "square"),
            r"has 4 classes with the background, the model 3; set MODEL\.ROI_BOX_HEAD\.N",
        ),
        (
            4,
            ("circle", "square", "star"),
            r"does not know the data's classes 1 \(star\).*maskrcnn-benchmark train",
        ),
        (3, None, "has 4 classes with the background, the model 3"),
    ],
)
def test_testing_on_other_classes_is_refused(
    tmp_path: Path, num_classes: int, names: tuple[str, ...] | None, words: str
) -> None:
    path = detector_file(tmp_path, 4, ("circle", "square", "triangle"))
    model = small_detector(num_classes, seed=1)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=words):
        Checkpointer(model, class_names=names and (BACKGROUND, *names)).load(path, Purpose.USE)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_published_files_hold_cocos_classes_without_saying_so(tmp_path: Path) -> None:
    """81 classes and no names: COCO's, by ascending category id; person is 1, toothbrush 80."""
    path = detector_file(tmp_path, 81, None)
    first, model = small_detector(81).state_dict(), small_detector(4, seed=1)
    initial = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    names = (BACKGROUND, "toothbrush", "gnome", "person")
    Checkpointer(model, class_names=names).load(path, Purpose.TRAINING)
    assert_rows(model, [(first, 0), (first, 80), (initial, 2), (first, 1)])
    reordered = small_detector(81, seed=1)
    Checkpointer(reordered, class_names=(BACKGROUND, *COCO_CLASSES[::-1])).load(path, Purpose.USE)
    assert_rows(reordered, [(first, 0), *((first, 81 - label) for label in range(1, 81))])


def test_without_names_equal_counts_mean_the_same_classes(tmp_path: Path) -> None:
    path = detector_file(tmp_path, 4, None)
    first, model = small_detector(4).state_dict(), small_detector(4, seed=1)
    report = Checkpointer(model, class_names=(BACKGROUND, "a", "b", "c")).load(path, Purpose.USE)
    assert report.classes is None
    assert_rows(model, [(first, label) for label in range(4)])


def test_an_early_checkpoint_of_81_classes_need_not_be_of_coco(tmp_path: Path) -> None:
    """This project's own files held no names at first; their classes are those of the run's data."""
    first = small_detector(81)
    torch.save({"model": first.state_dict(), "iteration": 1, "random_states": []}, tmp_path / "w.pth")
    names = (BACKGROUND, *(f"part {number}" for number in range(80)))
    model = small_detector(81, seed=1)
    assert Checkpointer(model, class_names=names).load(tmp_path / "w.pth", Purpose.USE).classes is None
    assert torch.equal(
        model.state_dict()["roi_heads.box.predictor.cls_score.weight"],
        first.state_dict()["roi_heads.box.predictor.cls_score.weight"],
    )


def test_names_that_do_not_fit_their_own_file_are_ignored(tmp_path: Path) -> None:
    path = detector_file(tmp_path, 4, ("circle", "square"))
    report = Checkpointer(small_detector(4, seed=1), class_names=(BACKGROUND, "a", "b", "c")).load(
        path, Purpose.USE
    )
    assert report.warnings == ["the file names 3 classes and has 4: its names are ignored"]


def test_class_agnostic_boxes_are_kept(tmp_path: Path) -> None:
    agnostic = ("MODEL.CLS_AGNOSTIC_BBOX_REG", True)
    first, model = small_detector(5, 0, *agnostic), small_detector(3, 1, *agnostic)
    torch.save({"model": first.state_dict()}, tmp_path / "w.pth")
    report = Checkpointer(model).load(tmp_path / "w.pth", Purpose.TRAINING)
    boxes = "roi_heads.box.predictor.bbox_pred.weight"
    assert torch.equal(model.state_dict()[boxes], first.state_dict()[boxes])
    assert report.classes is not None
    assert boxes not in {name for name, _, _ in report.classes.layers}


def test_names_and_model_that_disagree(tmp_path: Path) -> None:
    path = detector_file(tmp_path, 4, None)
    with pytest.raises(ValueError, match=r"2 class names .* set MODEL\.ROI_BOX_HEAD\.NUM_CLASSES 3"):
        Checkpointer(small_detector(4), class_names=(BACKGROUND, "a", "b")).load(path, Purpose.USE)
