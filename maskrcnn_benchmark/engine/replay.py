"""What went wrong in an iteration with a non-finite loss, in words and as a file that replays it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.engine.loss_monitor import Batch, NonFiniteLoss, Step
from maskrcnn_benchmark.engine.precision import Precision
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.comm import unwrap_model
from maskrcnn_benchmark.utils.plain_file import load_plain, save_plain
from maskrcnn_benchmark.utils.random_state import set_random_state


class NonFiniteLossError(RuntimeError):
    """Training stopped at a non-finite loss or gradient; the message says where and with what.

    replay_file: the iteration, as `replay` takes it.
    """

    def __init__(self, message: str, replay_file: Path) -> None:
        super().__init__(message)
        self.replay_file = replay_file


@contextmanager
def explained(folder: str | os.PathLike[str], model: nn.Module, dataset: object) -> Iterator[None]:
    """Turns a NonFiniteLoss from the block into a NonFiniteLossError, whose replay file goes to `folder`."""
    try:
        yield
    except NonFiniteLoss as found:
        file = save_replay(folder, found.step, model)
        raise NonFiniteLossError(explain(found.step, dataset), file) from None


def explain(step: Step, dataset: object) -> str:
    """Iteration, terms, learning rate, and the id and the boxes of each image of this process, in words."""
    terms = ", ".join(f"{name} {value:g}" for name, value in step.own_values().items())
    finite_here = bool(torch.isfinite(step.own[:-1]).all())
    where = "gradient, or a loss of another process" if finite_here else "loss"
    lines = [
        f"non-finite {where} in iteration {step.iteration}, process {comm.get_rank()}, "
        f"learning rate {step.lr:g}: {terms}",
        "its update was not applied. The images of this process:",
    ]
    for _, targets, indices in step.batches:
        lines += [
            f"  image {image_id(dataset, index)}: {describe_boxes(target)}"
            for target, index in zip(targets, indices, strict=True)
        ]
    lines += [
        "usual causes: a learning rate too high for the batch (SOLVER.BASE_LR), too short a warm-up "
        "(SOLVER.WARMUP_ITERS), float16 (DTYPE), broken boxes; SOLVER.CLIP_GRAD_NORM tames rare outliers",
    ]
    return "\n".join(lines)


def image_id(dataset: object, index: int) -> object:
    """The dataset's own id of an image, or its index where the dataset has no ids."""
    get_img_info = getattr(dataset, "get_img_info", None)
    return index if get_img_info is None else get_img_info(index)["id"]


def describe_boxes(target: BoxList) -> str:
    """Image size, number of boxes, range of their sides, labels; and boxes that are no boxes."""
    width, height = target.size
    if len(target) == 0:
        return f"{width} x {height}, no boxes"
    boxes = target.convert("xywh").bbox
    sides = boxes[:, 2:]
    text = (
        f"{width} x {height}, {len(target)} boxes, widths {sides[:, 0].min():g} to {sides[:, 0].max():g}, "
        f"heights {sides[:, 1].min():g} to {sides[:, 1].max():g}"
    )
    if target.has_field("labels"):
        text += f", labels {sorted(set(target.get_field('labels').tolist()))}"
    broken = int((~torch.isfinite(boxes).all(dim=1) | (sides <= 0).any(dim=1)).sum())
    return text + (f", {broken} OF THEM NOT FINITE OR OF NO SIZE" if broken else "")


def save_replay(folder: str | os.PathLike[str], step: Step, model: nn.Module) -> Path:
    """Writes the iteration's batches, weights and random state; every process its own file."""
    path = Path(folder) / f"nonfinite_{step.iteration:07d}_rank{comm.get_rank()}.pth"
    data = {
        "iteration": step.iteration,
        "lr": step.lr,
        "values": step.own_values(),
        "random_state": step.random_state,
        "batches": [_plain_batch(batch) for batch in step.batches],
        "model": unwrap_model(model).state_dict(),
    }
    save_plain(path, data)
    return path


def replay(
    model: nn.Module, path: str | os.PathLike[str], device: torch.device, precision: Precision
) -> dict[str, float]:
    """Runs the saved iteration, forward and backward, with anomaly detection, and returns the losses.

    Raises:
        ValueError: the file cannot be read.
        RuntimeError: torch's, naming the operation whose backward gave NaN.
    """
    data = load_plain(path, "replay file")
    model.load_state_dict(data["model"])
    model.train()
    set_random_state(data["random_state"], device)
    values: dict[str, float] = {}
    for saved in data["batches"]:
        images, targets, _ = load_batch(saved)
        with torch.autograd.detect_anomaly(check_nan=True):
            with precision.autocast(device):
                losses = model(images.to(device), targets)
            for name, loss in losses.items():
                values[name] = values.get(name, 0.0) + loss.item() / len(data["batches"])
            torch.stack(list(losses.values())).sum().backward()
    return values


def load_batch(saved: dict[str, Any]) -> Batch:
    """The batch that `save_replay` wrote."""
    images = ImageList(saved["images"], [(size[0], size[1]) for size in saved["image_sizes"]])
    return images, [_load_target(target) for target in saved["targets"]], tuple(saved["indices"])


def _plain_batch(batch: Batch) -> dict[str, Any]:
    images, targets, indices = batch
    return {
        "images": images.tensors.cpu(),
        "image_sizes": [list(size) for size in images.image_sizes],
        "targets": [_plain_target(target.to("cpu")) for target in targets],
        "indices": [int(index) for index in indices],
    }


def _plain_target(target: BoxList) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in target.fields():
        value = target.get_field(name)
        if isinstance(value, SegmentationMask):
            value = {
                "coords": value.coords,
                "polygon_starts": value.polygon_starts,
                "instance_starts": value.instance_starts,
                "size": list(value.size),
            }
        if isinstance(value, (Tensor, dict)):
            fields[name] = value
    return {"boxes": target.bbox, "size": list(target.size), "mode": target.mode, "fields": fields}


def _load_target(saved: dict[str, Any]) -> BoxList:
    target = BoxList(saved["boxes"], (saved["size"][0], saved["size"][1]), saved["mode"])
    for name, value in saved["fields"].items():
        if isinstance(value, dict):
            width, height = value["size"]
            value = SegmentationMask.from_tensors(
                value["coords"], value["polygon_starts"], value["instance_starts"], (width, height)
            )
        target.add_field(name, value)
    return target
