"""What is measured of one detector, as it stands in results.json.

Memory is in MiB, times in milliseconds or seconds as the name says, AP in 0..1. None: not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OK, OUT_OF_MEMORY, FAILED = "ok", "out_of_memory", "failed"
FASTER, MASK = "Faster R-CNN", "Mask R-CNN"
OURS = "maskrcnn_benchmark"
STAGES = (
    *("to_device", "backbone", "fpn", "rpn", "box_head", "mask_head"),
    *("post_processing", "mask_pasting"),
)


@dataclass(frozen=True)
class SavedForBackward:
    """What autograd keeps between forward and backward, of one module (without what its children keep)."""

    module: str
    mib: float
    tensors: int


@dataclass(frozen=True)
class TrainingMemory:
    """Peaks over the training steps.

    Attributes:
        allocated_mib, reserved_mib: torch's peaks on the GPU.
        peak_rss_mib: on a CPU, the process's peak resident set above `idle_rss_mib`, that of the idle process
            before the model is built.
        label: what the number is, for the table: "peak allocated" or "peak RSS above the idle process (CPU)".
        steps: over which the peaks were taken.
        breakdown: largest first; None unless asked for (--memory-breakdown).
        peak_tensors_mib: on a CPU, the peak of what torch's own allocator handed out in one more step, with
            weights, optimizer state and images; what compares with `allocated_mib` of a GPU.
    """

    label: str
    allocated_mib: float | None
    reserved_mib: float | None
    peak_rss_mib: float | None
    idle_rss_mib: float | None
    steps: int
    breakdown: tuple[SavedForBackward, ...] | None
    peak_tensors_mib: float | None = None  # files written before it was measured do not have it


@dataclass(frozen=True)
class StageTimes:
    """Median milliseconds of each stage, from extra passes that wait for the device after every stage.

    mask_head and mask_pasting are None without masks. The stages do not add up to the headline: waiting after
    every stage costs time, and a sum of medians is not the median of the sum.
    """

    to_device: float
    backbone: float
    fpn: float
    rpn: float
    box_head: float
    mask_head: float | None
    post_processing: float
    mask_pasting: float | None


@dataclass(frozen=True)
class InferenceTimes:
    """One image at a time: copy to the device and model up to final detections, no loading, no mask pasting.

    Attributes:
        median_ms: the headline number.
        p90_ms: the smallest value that nine tenths of the images do not exceed.
        times_ms: of every image, in the run's order, which is the same in every run with the same settings.
        split: time by stage; None where the stages could not be told apart.
    """

    median_ms: float
    p90_ms: float
    num_images: int
    times_ms: tuple[float, ...]
    split: StageTimes | None


@dataclass(frozen=True)
class BatchThroughput:
    """Inference at a larger batch; images_per_second is None where it did not fit into memory."""

    batch_size: int
    images_per_second: float | None


@dataclass(frozen=True)
class TrainingThroughput:
    """Images per second of forward, backward and optimizer step; data loading does not count.

    Attributes:
        step_seconds: of every timed step of the main process.
    """

    per_process: float
    total: float
    num_processes: int
    step_seconds: tuple[float, ...]


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one image by stage (STAGES), and that image's padded size."""

    by_stage: dict[str, int]
    total: int
    image_hw: tuple[int, ...]


@dataclass(frozen=True)
class Load:
    """How much work the heads had: means over the timed images; `how` says what weights caused it."""

    proposals: float
    detections: float
    how: str


@dataclass(frozen=True)
class AveragePrecision:
    """Scores of the evaluator of `maskrcnn-benchmark test`, 0..1; None where the dataset has no such object.

    Attributes:
        box, mask: AP, AP50, AP75, APs, APm, APl and AR by name; mask is None for a detector without masks.
        weights: the file's name.
    """

    dataset: str
    num_images: int
    weights: str
    box: dict[str, float | None]
    mask: dict[str, float | None] | None


@dataclass(frozen=True)
class Row:
    """One detector in one dtype.

    Attributes:
        name: the row's name, "faster-R-50", or the config's file name without suffix.
        implementation: "maskrcnn_benchmark", or the peer's name.
        config: path of the config from the project's folder, or the peer's function.
        backbone: MODEL.BACKBONE.CONV_BODY, "R-50-FPN"; with "-GN" where the pyramid has group norm.
        detector: "Faster R-CNN" or "Mask R-CNN".
        dtype: as asked for.
        computed_in: the dtype that inference really used (on a CPU without instructions for bfloat16
            "16-bit integers" or float32).
        status: out_of_memory where some measure did not fit; what was measured before stands in the row.
        reason: "" where status is ok.
        notes: what a reader must know about this row alone.
        seconds: how long measuring the row took.
    """

    name: str
    implementation: str
    config: str
    backbone: str
    detector: Literal["Faster R-CNN", "Mask R-CNN"]
    dtype: str
    computed_in: str | None
    status: Literal["ok", "out_of_memory", "failed"]
    reason: str
    notes: tuple[str, ...]
    seconds: float
    parameters: int | None
    macs: Macs | None
    load: Load | None
    inference: InferenceTimes | None
    throughput: tuple[BatchThroughput, ...]
    training_memory: TrainingMemory | None
    training_throughput: TrainingThroughput | None
    ap: AveragePrecision | None
