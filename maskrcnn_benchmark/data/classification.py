"""Loaders of images sorted into classes."""

from __future__ import annotations

from typing import Any

import torch

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.data.build import make_loader
from maskrcnn_benchmark.data.datasets.image_folder import ImageFolder
from maskrcnn_benchmark.data.samplers import (
    DistributedSampler,
    GroupedBatchSampler,
    IterationBasedBatchSampler,
    ShareBatchSampler,
)
from maskrcnn_benchmark.utils import comm


def make_classification_loader(
    cfg: ConfigNode, dataset: ImageFolder, is_train: bool, start_iter: int = 0
) -> Any:
    """Batches (ImageList, targets, indices) of SOLVER.IMS_PER_BATCH images over all processes.

    In training from iteration ``start_iter`` to SOLVER.MAX_ITER, in an order of its own for each epoch; order
    and crops depend on SEED and the iteration alone, not on the number of processes, of workers, or a resume.
    Otherwise every image once.

    Raises ValueError where the batch cannot be split over the processes.
    """
    batch_size, accumulation_steps = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATION_STEPS
    num_replicas, rank = comm.get_world_size(), comm.get_rank()
    if batch_size % (num_replicas * accumulation_steps):
        raise ValueError(
            f"a batch of {batch_size} images is not divisible by the {num_replicas} processes times "
            f"SOLVER.ACCUMULATION_STEPS {accumulation_steps}"
        )
    one_group = torch.zeros(len(dataset), dtype=torch.long)
    if not is_train:
        share = DistributedSampler(dataset, num_replicas, rank, shuffle=False, pad=False)
        part = batch_size // (num_replicas * accumulation_steps)
        return make_loader(cfg, dataset, GroupedBatchSampler(share, one_group, part))
    order = DistributedSampler(dataset, seed=max(cfg.SEED, 0))
    batches = GroupedBatchSampler(order, one_group, batch_size, join_uneven=True)
    iterations = IterationBasedBatchSampler(batches, cfg.SOLVER.MAX_ITER, start_iter)
    shares = ShareBatchSampler(
        iterations, batch_size, max(cfg.SEED, 0), accumulation_steps, num_replicas, rank
    )
    return make_loader(cfg, dataset, shares)
