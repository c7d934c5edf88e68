"""How each measure was taken, one sentence each, for the report."""

from __future__ import annotations

from maskrcnn_benchmark.benchmark.measure.inference import SPLIT_IMAGES, TIMED_BATCHES, WARM_UP_IMAGES
from maskrcnn_benchmark.benchmark.measure.training import WARM_UP_STEPS
from maskrcnn_benchmark.benchmark.results import Settings

TENSOR_MEMORY = (
    "Tensor memory is the peak of what torch's own allocator handed out, counted in one more step on the "
    "largest of these batches, with weights, optimizer state and images. It compares with a GPU allocator's "
    "peak, except for the workspaces of convolutions."
)


def describe_protocol(settings: Settings, device_type: str) -> dict[str, str]:
    """A sentence for each measure, by its name."""
    return {
        "sizes": (
            f"Images have a short side of {settings.short_side} and a long side of at most "
            f"{settings.long_side} pixels, padded as the data loader pads; their sizes and objects are those "
            f"of {_source(settings)}."
        ),
        "load": (
            "Without a weights file, weights are random and the last layers of RPN and box head are scaled "
            "so that about 1000 proposals reach the box head and about 100 detections leave it; each row "
            "says how many did."
        ),
        **_describe_training(settings, device_type),
        **_describe_inference(settings, device_type),
        "macs": (
            "MACs are half the operations that torch.utils.flop_counter counts on one padded image: "
            "convolutions, matrix products and RoIAlign's interpolation."
        ),
        "ap": (
            "AP is COCO's, by the evaluator of maskrcnn-benchmark test; it needs a dataset (--dataset) and a "
            "weights file for the row (--weights-dir)."
        ),
    }


def _describe_training(settings: Settings, device_type: str) -> dict[str, str]:
    count, steps = settings.images_per_process, settings.steps
    if device_type == "cuda":
        peak = "the most that torch allocated, and reserved, on the GPU"
    else:
        peak = "the process's peak resident set above that of the idle process, not a GPU's number,"
    return {
        "training_memory": (
            f"Training memory is {peak} over {steps} steps of forward, backward and optimizer at {count} "
            "images per process, with as many objects per image as in the data."
        ),
        **({} if device_type == "cuda" else {"tensor_memory": TENSOR_MEMORY}),
        "training_throughput": (
            f"Training throughput is {count} images over the median seconds of {steps} such steps after "
            f"{WARM_UP_STEPS[device_type]} that do not count, without data loading, per process and summed "
            "over all processes."
        ),
    }


def _describe_inference(settings: Settings, device_type: str) -> dict[str, str]:
    return {
        "inference": (
            f"Inference time is the median over {settings.images} images, one at a time after "
            f"{WARM_UP_IMAGES[device_type]} that do not count: the copy to the device and the model up to "
            "its final detections, until the device is done. Loading and mask pasting do not count, as in "
            "the published tables."
        ),
        "split": (
            f"The split is the median of each stage over {min(settings.images, SPLIT_IMAGES)} images, in "
            "extra passes that wait for the device before and after each stage; so the stages need not add "
            "up to the inference time."
        ),
        "throughput": (
            f"Throughput is the images per second of {TIMED_BATCHES} batches after one that does not count, "
            "summed over all processes."
        ),
    }


def _source(settings: Settings) -> str:
    if settings.dataset is not None:
        return settings.dataset
    return f"{settings.sizes_from} (a table that ships with the package), their pixels smooth noise"
