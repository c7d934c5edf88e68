"""Data loaders from a config."""

from __future__ import annotations

from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.data.collate_batch import BatchCollator
from maskrcnn_benchmark.data.datasets import ConcatDataset, DetectionDataset
from maskrcnn_benchmark.data.datasets.build import build_dataset
from maskrcnn_benchmark.data.datasets.class_order import Classified, align_classes
from maskrcnn_benchmark.data.datasets.detection_dataset import Sample
from maskrcnn_benchmark.data.samplers import (
    DistributedSampler,
    GroupedBatchSampler,
    IterationBasedBatchSampler,
    ShareBatchSampler,
)
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.stop_signals import leave_signals_to_parent, sigterm_held_back


class Loader(DataLoader[Sample]):
    """A DataLoader whose workers obey their parent alone; see `leave_signals_to_parent`."""

    def __iter__(self) -> Any:
        with sigterm_held_back():
            return super().__iter__()


def make_data_loader(
    cfg: ConfigNode,
    is_train: bool = True,
    is_distributed: bool = False,
    start_iter: int = 0,
    like: Classified | None = None,
) -> Any:
    """The loader of the training data, or the list of loaders of DATASETS.TEST.

    Batches are (ImageList uint8 BGR channels_last, targets, indices in the dataset). The training loader
    goes from iteration ``start_iter`` (optimizer steps) to SOLVER.MAX_ITER, SOLVER.ACCUMULATION_STEPS batches
    each; its batches and their augmentation depend on SEED (a negative one counts as 0) and the iteration
    alone, not on DATALOADER.NUM_WORKERS, the number of processes or a resume. The test loaders give this
    process's share, every image in exactly one.

    like: the dataset whose labels all others follow; without it, the first of them. See `align_classes`.

    Raises ValueError (DatasetError for the data) before any image is read for whatever does not fit.
    """
    num_replicas = comm.get_world_size() if is_distributed else 1
    rank = comm.get_rank() if is_distributed else 0
    names = cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST
    if len(names) == 0:
        raise ValueError(
            f"DATASETS.{'TRAIN' if is_train else 'TEST'} is empty; name datasets of the catalogue, "
            "annotations.json@image_folder, or kind://location"
        )
    datasets = [build_dataset(cfg, name, is_train) for name in names]
    align_classes(datasets, like)
    if is_train:
        dataset = datasets[0] if len(datasets) == 1 else ConcatDataset(datasets)
        return make_loader(cfg, dataset, _make_train_batches(cfg, dataset, num_replicas, rank, start_iter))
    return [
        make_loader(cfg, dataset, _make_test_batches(cfg, dataset, num_replicas, rank))
        for dataset in datasets
    ]


def _make_train_batches(
    cfg: ConfigNode, dataset: DetectionDataset | ConcatDataset, num_replicas: int, rank: int, start_iter: int
) -> Sampler[list[Any]]:
    """Every process walks the same order and takes its share of every batch."""
    batch_size, accumulation_steps = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATION_STEPS
    if batch_size % (num_replicas * accumulation_steps) != 0:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH {batch_size} is not divisible by the {num_replicas} processes times "
            f"SOLVER.ACCUMULATION_STEPS {accumulation_steps}; make it a multiple of "
            f"{num_replicas * accumulation_steps}"
        )
    seed = max(cfg.SEED, 0)
    batches = GroupedBatchSampler(
        DistributedSampler(dataset, seed=seed), _make_groups(cfg, dataset), batch_size, join_uneven=True
    )
    iterations = IterationBasedBatchSampler(batches, cfg.SOLVER.MAX_ITER, start_iter)
    return ShareBatchSampler(iterations, batch_size, seed, accumulation_steps, num_replicas, rank)


def _make_test_batches(
    cfg: ConfigNode, dataset: DetectionDataset, num_replicas: int, rank: int
) -> Sampler[list[Any]]:
    """This process's part of the images, each once."""
    batch_size = cfg.TEST.IMS_PER_BATCH
    if batch_size % num_replicas != 0:
        raise ValueError(
            f"TEST.IMS_PER_BATCH {batch_size} is not divisible by the {num_replicas} processes; make it a "
            f"multiple of {num_replicas}"
        )
    share = DistributedSampler(dataset, num_replicas, rank, shuffle=False, pad=False)
    return GroupedBatchSampler(share, _make_groups(cfg, dataset), batch_size // num_replicas)


def _make_groups(cfg: ConfigNode, dataset: DetectionDataset | ConcatDataset) -> torch.Tensor:
    """1 for images at least as high as wide, 0 for the others; all 0 without grouping."""
    upright = dataset.aspect_ratios() >= 1
    return upright.long() * int(cfg.DATALOADER.ASPECT_RATIO_GROUPING)


def make_loader(cfg: ConfigNode, dataset: Any, batches: Sampler[list[Any]]) -> Loader:
    """The loader of ``dataset`` (index -> image, target, index) over batches of indices."""
    workers = cfg.DATALOADER.NUM_WORKERS
    return Loader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=BatchCollator(cfg.DATALOADER.SIZE_DIVISIBILITY),
        multiprocessing_context=cfg.DATALOADER.START_METHOD if workers > 0 else None,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available() and cfg.MODEL.DEVICE != "cpu",
        # the loader's own seed, which nothing here uses, must not move the generator that training resumes
        generator=torch.Generator(),
    )


def _start_worker(worker: int) -> None:
    """Workers share the cores among each other: torch limits its own threads, OpenCV does not. They stop when
    the training process does, not when a scheduler signals the whole group."""
    cv2.setNumThreads(0)
    leave_signals_to_parent(worker)
