"""Datasets of one run mean the same classes by the same labels: by their names, or not at all."""

import logging

import pytest

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.data.datasets import DatasetError
from maskrcnn_benchmark.data.datasets.class_order import align_classes, find_order

ARGUMENTS = ("MODEL.ROI_BOX_HEAD.NUM_CLASSES", "3", "DATALOADER.NUM_WORKERS", "0")


def loaders(*entries: str, is_train: bool = False, like: object = None):
    names = str(tuple(entries))
    cfg = load_config(None, [*ARGUMENTS, "DATASETS.TRAIN", names, "DATASETS.TEST", names])
    return make_data_loader(cfg, is_train, like=like)


def with_names(content: dict, third: str, seventh: str) -> dict:
    return {**content, "categories": [{"id": 7, "name": seventh}, {"id": 3, "name": third}]}


def test_every_test_set_follows_the_first(write_coco, content, caplog) -> None:
    first = write_coco(content, "first")
    turned = write_coco(with_names(content, "seven", "three"), "turned")
    with caplog.at_level(logging.WARNING, logger="maskrcnn_benchmark.data"):
        _, loader = loaders(first.entry, turned.entry)
    dataset = loader.dataset
    assert dataset.categories == {7: "three", 3: "seven"}
    assert dataset.class_names == ("__background__", "three", "seven")
    # what the file says of the first image: category 7, named "three" here, then category 3
    assert dataset.get_ground_truth(0).get_field("labels").tolist() == [1, 2]
    assert dataset.contiguous_category_id_to_json_id == {1: 7, 2: 3}
    assert dataset.json_category_id_to_contiguous_id == {7: 1, 3: 2}
    assert "its classes seven, three are taken as three, seven of" in caplog.text


def test_validation_data_follow_the_training_data(write_coco, content) -> None:
    train = loaders(write_coco(content, "train").entry, is_train=True).dataset
    turned = write_coco(with_names(content, "seven", "three"), "turned")
    (loader,) = loaders(turned.entry, like=train)
    assert loader.dataset.class_names == train.class_names


@pytest.mark.parametrize("is_train", [True, False])
def test_other_names_are_refused_with_both_lists(write_coco, content, is_train: bool) -> None:
    first, other = write_coco(content, "first"), write_coco(with_names(content, "cat", "dog"), "other")
    message = r"other/instances\.json: its classes are not those of .*first/.*: cat, dog here, three, seven"
    with pytest.raises(DatasetError, match=message):
        loaders(first.entry, first.entry, other.entry, is_train=is_train)


def test_joined_training_data_follow_the_first(write_coco, content) -> None:
    turned = write_coco(with_names(content, "seven", "three"), "turned")
    joined = loaders(write_coco(content, "first").entry, turned.entry, is_train=True).dataset
    assert [joined[index][1].get_field("labels").tolist() for index in (0, 5)] == [[2, 1], [1, 2]]


@pytest.mark.parametrize(
    ("ours", "theirs", "order"),
    [
        ([(1, "a"), (2, "b")], [(5, "b"), (6, "a")], [1, 0]),
        ([(1, "a"), (2, "a")], [(2, "a"), (1, "a")], [1, 0]),  # ids decide where names cannot
        ([(1, "a"), (2, "a"), (3, "b")], [(7, "b"), (8, "a"), (9, "a")], None),
        ([(1, "a"), (2, "b")], [(1, "a"), (2, "a")], None),
        ([(1, "Cafe\u0301 "), (2, "b")], [(1, "B"), (2, "caf\u00e9")], [1, 0]),
        ([(1, "a"), (2, "A")], [(1, "A"), (2, "a")], [1, 0]),
        ([(1, "a")], [(1, "a"), (2, "b")], None),
    ],
)
def test_how_names_decide(ours: list, theirs: list, order: list | None) -> None:
    assert find_order(ours, theirs) == order


def test_a_kind_without_reordering_is_refused_only_where_it_would_be_needed(write_coco, content) -> None:
    class Plain:
        source = "plain"

        def __init__(self, *names: str) -> None:
            self.categories = dict(enumerate(names))

    align_classes([Plain("a", "b"), Plain("A", "b")])
    with pytest.raises(DatasetError, match=r"plain: .* in another order"):
        align_classes([Plain("a", "b"), Plain("b", "a")])
