"""Loaders as the training and the test use them, with real worker processes."""

import json
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.data import make_data_loader

OPTIONS = {
    "MODEL.MASK_ON": "True",
    "MODEL.ROI_BOX_HEAD.NUM_CLASSES": "3",
    "INPUT.MIN_SIZE_TRAIN": "(32, 48)",
    "INPUT.MAX_SIZE_TRAIN": "96",
    "INPUT.MIN_SIZE_TEST": "40",
    "INPUT.MAX_SIZE_TEST": "96",
    "INPUT.BRIGHTNESS": "0.3",
    "DATALOADER.NUM_WORKERS": "0",
    "DATALOADER.SIZE_DIVISIBILITY": "32",
    "SOLVER.IMS_PER_BATCH": "4",
    "SOLVER.MAX_ITER": "9",
    "SOLVER.STEPS": "(5,)",
    "SOLVER.AUTO_SCALE": "False",
    "TEST.IMS_PER_BATCH": "2",
    "SEED": "3",
}


def config(entry: str, **changes: str):
    named = {key.replace("__", "."): value for key, value in changes.items()}
    options = {**OPTIONS, "DATASETS.TRAIN": f"('{entry}',)", "DATASETS.TEST": f"('{entry}',)", **named}
    return load_config(None, [item for pair in options.items() for item in pair])


Summary = tuple[tuple[int, ...], list[int], list[list[float]], list[int]]


def summary(batches) -> Iterator[Summary]:
    """Everything of a batch that a model could see, as comparable values."""
    for images, targets, indices in batches:
        weights = torch.arange(images.tensors.numel()) % 1009
        pixels = [int((image.flatten() * weights[: image.numel()]).sum()) for image in images.tensors.long()]
        boxes = [
            [*target.bbox.flatten().tolist(), *target.get_field("masks").coords.flatten().tolist()]
            for target in targets
        ]
        yield indices, pixels, boxes, images.sizes.flatten().tolist()


@pytest.fixture
def entry(write_coco, many_images) -> str:
    return write_coco(many_images).entry


@pytest.mark.parametrize(("workers", "method"), [("2", "fork"), ("1", "spawn")])
def test_workers_change_nothing(entry: str, workers: str, method: str) -> None:
    changes = {"DATALOADER__NUM_WORKERS": workers, "DATALOADER__START_METHOD": method}
    in_workers = list(summary(make_data_loader(config(entry, **changes))))
    assert in_workers == list(summary(make_data_loader(config(entry))))
    assert len(in_workers) == 9


@pytest.mark.parametrize("start", [1, 4, 6, 8])
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(entry: str, start: int) -> None:
    whole = list(summary(make_data_loader(config(entry))))
    assert list(summary(make_data_loader(config(entry), start_iter=start))) == whole[start:]


def test_augmentation_differs_from_epoch_to_epoch_and_by_seed(entry: str) -> None:
    def images_seen(seed: str) -> dict[int, set[int]]:
        seen: dict[int, set[int]] = {}
        for indices, pixels, _, _ in summary(
            make_data_loader(config(entry, SEED=seed, SOLVER__MAX_ITER="24"))
        ):
            for index, content in zip(indices, pixels, strict=True):
                seen.setdefault(index, set()).add(content)
        return seen

    first, second = images_seen("3"), images_seen("4")
    assert all(len(contents) >= 3 for contents in first.values())
    assert all(not first[index] & second[index] for index in first)


def test_accumulation_splits_the_same_batches(entry: str) -> None:
    whole = list(summary(make_data_loader(config(entry), start_iter=2)))
    parts = list(summary(make_data_loader(config(entry, SOLVER__ACCUMULATION_STEPS="2"), start_iter=2)))
    assert len(parts) == 2 * len(whole)
    assert [parts[2 * k][0] + parts[2 * k + 1][0] for k in range(len(whole))] == [batch[0] for batch in whole]
    assert [parts[2 * k][2] + parts[2 * k + 1][2] for k in range(len(whole))] == [batch[2] for batch in whole]


def test_a_training_batch_is_what_the_detector_takes(entry: str) -> None:
    loader = make_data_loader(config(entry))
    assert len(loader) == 9
    images, targets, indices = next(iter(loader))
    assert images.tensors.dtype == torch.uint8
    assert images.tensors.is_contiguous(memory_format=torch.channels_last)
    assert all(side % 32 == 0 for side in images.tensors.shape[2:])
    for (height, width), padded, target, index in zip(
        images.image_sizes, images.tensors, targets, indices, strict=True
    ):
        assert target.size == (width, height)
        assert not padded[:, height:].any() and not padded[:, :, width:].any()
        info = loader.dataset.get_img_info(index)
        assert (info["width"] > info["height"]) == (width > height)
        masks = target.get_field("masks").get_mask_tensor()
        for (x1, y1, x2, y2), mask in zip(target.bbox.tolist(), masks, strict=True):
            rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
            bounds = [columns.min(), rows.min(), columns.max(), rows.max()]
            assert torch.tensor(bounds).sub(torch.tensor([x1, y1, x2, y2])).abs().max() < 2.6


def test_the_random_generator_of_training_is_left_alone(entry: str) -> None:
    before = torch.get_rng_state()
    next(iter(make_data_loader(config(entry))))
    assert torch.equal(torch.get_rng_state(), before)


def test_wide_and_tall_images_share_no_full_batch(entry: str) -> None:
    loader = make_data_loader(config(entry))
    mixed = sum(len({height > width for height, width in images.image_sizes}) > 1 for images, _, _ in loader)
    assert mixed <= 4  # one or two of the six batches of an epoch are joined from remainders


def test_test_loaders_give_every_image_once_unchanged(entry: str) -> None:
    loaders = make_data_loader(config(entry, DATALOADER__NUM_WORKERS="1"), is_train=False)
    assert len(loaders) == 1
    indices = []
    for images, targets, batch in loaders[0]:
        indices += batch
        assert [min(size) for size in images.image_sizes] == [40] * len(batch)
        assert len(targets) == len(batch) <= 2
    assert sorted(indices) == list(range(23))


def test_batches_that_cannot_be_split_are_refused(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskrcnn_benchmark.utils.comm.get_world_size", lambda: 3)
    with pytest.raises(ValueError, match=r"TEST\.IMS_PER_BATCH 2 is not divisible by the 3 processes"):
        make_data_loader(config(entry), is_train=False, is_distributed=True)
    message = r"SOLVER\.IMS_PER_BATCH 4 is not divisible by the 3 processes .*; make it a multiple of 6"
    with pytest.raises(ValueError, match=message):
        make_data_loader(config(entry, SOLVER__ACCUMULATION_STEPS="2"), is_distributed=True)


def one_of_two(rank: int, folder: str, entry: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    train = make_data_loader(config(entry), is_distributed=True)
    (test,) = make_data_loader(config(entry), is_train=False, is_distributed=True)
    seen = {"train": list(summary(train)), "test": [index for _, _, batch in test for index in batch]}
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(seen, file)
    dist.destroy_process_group()


def test_two_processes_share_the_batches_of_one(entry: str, tmp_path) -> None:
    multiprocessing.spawn(one_of_two, args=(str(tmp_path), entry), nprocs=2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    whole = list(summary(make_data_loader(config(entry))))
    for one, two, (indices, _, boxes, sizes) in zip(first["train"], second["train"], whole, strict=True):
        assert one[0] + two[0] == list(indices)
        assert one[2] + two[2] == boxes
        assert one[3] + two[3] == sizes
    assert sorted(first["test"] + second["test"]) == list(range(23))
