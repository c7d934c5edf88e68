"""A training run in small: a detector of a few weights, batches made of arithmetic, everything else real.

Shared by the trainer's tests, and run as a script by those that need processes of their own
(`python fake_run.py '[{"folder": ..., ...}, ...]'`, the arguments of `train` for one run after the other).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.engine.builtin_hooks import EarlyStopping, RecordWriter
from maskrcnn_benchmark.engine.hooks import Hook
from maskrcnn_benchmark.engine.loss_monitor import Batch
from maskrcnn_benchmark.engine.precision import Precision
from maskrcnn_benchmark.engine.train_options import TrainOptions
from maskrcnn_benchmark.engine.trainer import TrainResult, do_train
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.evaluation import AP_DECIDES, Deciding
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.data_fault import DataFault
from maskrcnn_benchmark.utils.metric_writers import JsonLinesWriter
from maskrcnn_benchmark.utils.random_state import seed_everything
from maskrcnn_benchmark.weights.checkpoint import Checkpointer

BROKEN_LABEL = 99  # a box of this label makes the loss NaN
SIDE = 16


class FakeDetector(nn.Module):
    """Two losses that depend on every weight, the images and the boxes, and on random numbers if asked to."""

    def __init__(self, noisy: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.out = nn.Linear(4, 2)
        self.noisy = noisy

    def forward(self, images: ImageList, targets: list[BoxList]) -> dict[str, Tensor]:
        features = self.conv(images.tensors.float() / 255).relu().mean(dim=(2, 3))
        if self.noisy:
            features = features * torch.rand_like(features)
        predictions = self.out(features).float()
        wanted = torch.stack([target.bbox.sum() / (1 + len(target)) / SIDE for target in targets])
        broken = any(BROKEN_LABEL in target.get_field("labels") for target in targets)
        return {
            "loss_box_reg": (predictions[:, 0] - wanted).square().mean() * (torch.nan if broken else 1.0),
            "loss_classifier": (predictions[:, 1] - 1).square().mean(),
        }


class FakeLoader:
    """Batches `start` + 1 .. of a fixed sequence of images; a process takes every `world`-th image."""

    def __init__(
        self,
        start: int,
        batch_size: int,
        broken_image: int = -1,
        empty_rank: int = -1,
        pause: float = 0.0,
        log: list[int] | None = None,
        unreadable_image: int = -1,
    ) -> None:
        self.start, self.batch_size, self.pause = start, batch_size, pause
        self.broken_image, self.empty_rank = broken_image, empty_rank
        self.unreadable_image = unreadable_image
        self.log = [] if log is None else log
        self.dataset = SimpleNamespace(get_img_info=lambda index: {"id": 1000 + index})

    def __iter__(self) -> Iterator[Batch]:
        torch.empty((), dtype=torch.int64).random_()  # as torch's loader: a seed for its workers
        return self._batches()

    def _batches(self) -> Iterator[Batch]:
        first = self.start * self.batch_size
        while True:
            time.sleep(self.pause)
            world, rank = comm.get_world_size(), comm.get_rank()
            indices = tuple(range(first, first + self.batch_size))[rank::world]
            self.log += indices
            if self.unreadable_image in indices:
                raise DataFault(f"{self.unreadable_image}.png: truncated")
            images = [fake_image(index) for index in indices]
            targets = [self._target(index) for index in indices]
            yield ImageList(torch.stack(images), [(SIDE, SIDE)] * len(images)), targets, indices
            first += self.batch_size

    def _target(self, index: int) -> BoxList:
        count = 0 if comm.get_rank() == self.empty_rank else 1 + index % 3
        target = BoxList([[1.0, 2.0, 5.0 + i, 6.0 + index % 5] for i in range(count)], (SIDE, SIDE))
        labels = torch.full((count,), BROKEN_LABEL if index == self.broken_image else 1)
        target.add_field("labels", labels)
        target.add_field("masks", SegmentationMask([[[1.0, 2, 5, 2, 5, 6]]] * count, (SIDE, SIDE)))
        return target


def fake_image(index: int) -> Tensor:
    """A uint8 image [3, SIDE, SIDE] that differs with its index."""
    return (torch.arange(3 * SIDE * SIDE).reshape(3, SIDE, SIDE) * (index + 3) % 251).to(torch.uint8)


def train(
    folder: str | Path,
    max_iter: int,
    resume: bool = False,
    batch_size: int = 4,
    accumulation_steps: int = 1,
    dtype: str = "float32",
    noisy: bool = True,
    checkpoint_period: int = 1000,
    eval_period: int = 0,
    log_period: int = 3,
    keep: int = 0,
    broken_image: int = -1,
    empty_rank: int = -1,
    pause: float = 0.0,
    clip_grad_norm: float = 0.0,
    evaluate: Callable[[bool], Mapping[str, float]] | None = None,
    log: list[int] | None = None,
    unreadable_image: int = -1,
    hooks: Sequence[Hook] = (),
    aps: Sequence[float] = (),
    patience: int = 0,
    deciding: Deciding | None = AP_DECIDES,
) -> tuple[TrainResult, nn.Module]:
    """Trains a FakeDetector in `folder` as the command `train` trains a real one.

    aps: what the evaluations find, one after the other, in the main process; instead of `evaluate`.
    """
    left = iter(aps)
    if aps:
        evaluate = lambda is_last: {"val/bbox/AP": next(left)} if comm.is_main_process() else {}  # noqa: E731
    if patience:
        hooks = [*hooks, EarlyStopping(patience)]
    Path(folder).mkdir(exist_ok=True)
    cfg = load_config(None, ["SOLVER.STEPS", (6,), "SOLVER.WARMUP_ITERS", 4, "SOLVER.BASE_LR", 0.05])
    seed_everything(7 + comm.get_rank() * noisy)
    device = torch.device("cpu")
    detector = FakeDetector(noisy)
    optimizer = make_optimizer(cfg, detector)
    scheduler = make_lr_scheduler(cfg, optimizer)
    main = comm.is_main_process()
    checkpointer = Checkpointer(detector, optimizer, scheduler, folder, save_to_disk=main, keep=keep)
    arguments: dict[str, Any] = {"iteration": 0}
    if resume:
        arguments.update(checkpointer.resume())
    loader = FakeLoader(
        arguments["iteration"] * accumulation_steps,
        batch_size,
        broken_image,
        empty_rank,
        pause,
        log,
        unreadable_image,
    )
    options = TrainOptions(
        max_iter,
        accumulation_steps,
        Precision(getattr(torch, dtype)),
        clip_grad_norm,
        log_period,
        eval_period,
        deciding,
    )
    # no TensorBoard: importing it takes longer than the runs
    writers = [JsonLinesWriter(Path(folder) / "metrics.jsonl", arguments["iteration"])] if main else []
    result = do_train(
        comm.distribute(detector, device),
        loader,
        optimizer,
        scheduler,
        checkpointer,
        device,
        checkpoint_period,
        arguments,
        options,
        evaluate,
        [RecordWriter(writers), *hooks],
    )
    return result, detector


if __name__ == "__main__":
    comm.init_process_group(torch.device("cpu"))
    for run in json.loads(sys.argv[1]):
        ended, _ = train(**run)
        comm.synchronize()  # the next run may resume what the main process has just written
    comm.destroy_process_group()
    sys.exit(128 + ended.stopped_by if ended.stopped_by else 0)
