"""A model's predictions on a whole dataset, and their score. Every rank takes its share of the images."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from maskrcnn_benchmark.engine.precision import FLOAT32, Precision, running_in
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.evaluation import (
    EvaluationResults,
    Evaluator,
    check_expected,
    failed_expectations,
)
from maskrcnn_benchmark.structures.image_predictions import ImagePredictions
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.comm import unwrap_model
from maskrcnn_benchmark.utils.progress import Progress

logger = logging.getLogger("maskrcnn_benchmark.inference")

# Images whose masks wait to be encoded; more than a few batches would only pile up memory.
MAX_WAITING = 64
SECONDS_BETWEEN_LINES = 30.0
MANY_CLASSES = 12  # these fill the screen when listed one below the other


def inference(
    model: nn.Module,
    data_loader: DataLoader[Any],
    dataset_name: str,
    iou_types: Sequence[str] = ("bbox",),
    device: torch.device | str = "cuda",
    expected_results: Sequence[Sequence[Any]] = (),
    expected_results_sigma_tol: float = 4.0,
    output_folder: str | None = None,
    precision: Precision = FLOAT32,
    evaluator: Evaluator | None = None,
) -> tuple[EvaluationResults, list[ImagePredictions]] | None:
    """Runs the model over the loader's dataset and scores what it finds.

    Called by every rank, each with a loader over its share of the images; an image that several ranks saw
    counts once. The model's training mode is the same afterwards as before.

    Args:
        dataset_name: for the log.
        iou_types: what the dataset's own evaluator scores; ignored where `evaluator` is given.
        expected_results: rows [IoU type, metric, mean, standard deviation]; a number further than
            `expected_results_sigma_tol` deviations off is logged and named in `failed_expectations`.
        output_folder: gets the evaluator's files.
        precision: what numbers the model computes in.
        evaluator: encodes and scores the predictions; None takes `dataset.make_evaluator(iou_types)`.

    Returns:
        On the main rank the scores and the predictions per image, in the dataset's order; None on the others.

    Raises:
        ValueError: the evaluator does not know an IoU type or an expected number.
        RuntimeError: no rank saw some image of the dataset.
    """
    dataset: Any = data_loader.dataset
    scorer: Evaluator = dataset.make_evaluator(iou_types) if evaluator is None else evaluator
    check_expected(expected_results, scorer.metrics)
    world_size = comm.get_world_size()
    logger.info("Inference on %s: %d images on %d device(s)", dataset_name, len(dataset), world_size)
    start = time.perf_counter()
    # DistributedDataParallel's forward exchanges buffers, also in evaluation, and would wait forever for a
    # rank that has fewer batches: the model runs without it.
    device = torch.device(device)
    with evaluation_mode(unwrap_model(model)) as running, running_in(running, precision, device):
        own = predict(running, data_loader, device, scorer)
    comm.synchronize()
    elapsed = time.perf_counter() - start
    per_image = elapsed * world_size / max(len(dataset), 1)
    logger.info(
        "Inference took %.1f s, loading and masks included (%.4f s per image and device)", elapsed, per_image
    )
    predictions = merge_predictions(comm.gather(own), len(dataset))
    if predictions is None:
        return None
    results = scorer.score(predictions, output_folder)
    results.failed_expectations = failed_expectations(results, expected_results, expected_results_sigma_tol)
    num_classes = max(map(len, results.per_class.values()), default=0)
    side_by_side = 3 if num_classes >= MANY_CLASSES else 1
    logger.info("%s\n%s\n", dataset_name, results.describe(side_by_side))
    for failure in results.failed_expectations:
        logger.error("%s: not the expected result: %s", dataset_name, failure)
    return results, predictions


@torch.no_grad()
def predict(
    model: nn.Module, data_loader: DataLoader[Any], device: torch.device, evaluator: Evaluator
) -> dict[int, ImagePredictions]:
    """The model's predictions for the loader's images, by index in the dataset.

    One other thread encodes them, masks above all, while the device works on the next batch: the compiled op
    lets go of Python's lock.
    """
    predictions: dict[int, ImagePredictions] = {}
    waiting: deque[tuple[int, Future[ImagePredictions]]] = deque()
    last_line = time.perf_counter()
    with ThreadPoolExecutor(max_workers=1) as encoder, Progress(0, len(data_loader)) as progress:
        for number, (images, _, indices) in enumerate(data_loader, start=1):
            detections = _on_host(model(images.to(device, non_blocking=True)))
            for index, prediction in zip(indices, detections, strict=True):
                waiting.append((index, encoder.submit(evaluator.encode, index, prediction)))
            while len(waiting) > MAX_WAITING or (waiting and waiting[0][1].done()):
                index, encoded = waiting.popleft()
                predictions[index] = encoded.result()
            progress.update()
            if time.perf_counter() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.perf_counter()
                logger.info("Inference: batch %d of %d", number, len(data_loader))
        predictions.update((index, encoded.result()) for index, encoded in waiting)
    return predictions


def _on_host(detections: list[BoxList]) -> list[BoxList]:
    return [each.to("cpu") for each in detections]


def merge_predictions(
    shares: list[dict[int, ImagePredictions]] | None, num_images: int
) -> list[ImagePredictions] | None:
    """The ranks' predictions as one list in the dataset's order; None where there are none to merge.

    Raises:
        RuntimeError: an image is missing.
    """
    if shares is None:
        return None
    merged: dict[int, ImagePredictions] = {}
    for share in shares:
        merged.update(share)
    missing = [index for index in range(num_images) if index not in merged]
    if missing:
        raise RuntimeError(
            f"{len(missing)} of {num_images} images have no prediction, the first is index {missing[0]}"
        )
    return [merged[index] for index in range(num_images)]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode; every module gets its own mode back, also when something fails."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes.items():
            module.training = training
