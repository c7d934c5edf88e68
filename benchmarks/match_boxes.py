"""Time and memory of matching boxes to ground truth beside the matrix of all overlaps, in the same run.

    python benchmarks/match_boxes.py [--device cuda] [--output benchmarks/results/match_boxes_cpu]

Both return the same matches, which is checked. The matrix is left out where it would take more
than --matrix-gib.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import common
import torch
from torch import Tensor

from maskrcnn_benchmark.benchmark.measure.memory import peak_bytes_of
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.rpn.anchor_generator import AnchorGenerator
from maskrcnn_benchmark.structures.boxlist_ops import box_iou
from maskrcnn_benchmark.structures.targets import Targets

IMAGE_WH = torch.tensor([1344.0, 800.0])
STRIDES = (4, 8, 16, 32, 64)
NUM_IMAGES = 2
NUM_PROPOSALS = 2000
TENSORS_AT_ONCE = 6  # as large as the matrix of overlaps, on the way to it
MIB = 2**20


def random_boxes(*shape: int, largest: float, generator: torch.Generator) -> Tensor:
    """Boxes of up to `largest` pixels a side, anywhere on the image."""
    corner = torch.rand(*shape, 2, generator=generator) * IMAGE_WH
    return torch.cat([corner, corner + torch.rand(*shape, 2, generator=generator) * largest], dim=-1)


def make_cases(device: str) -> dict[str, tuple[Matcher, Tensor, Targets]]:
    generator = torch.Generator().manual_seed(0)
    width, height = IMAGE_WH.int().tolist()
    sizes = [8 * stride for stride in STRIDES]
    levels = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    anchors = torch.cat(AnchorGenerator(sizes, anchor_strides=STRIDES)(levels)).to(device)
    rpn, box_head = Matcher(0.7, 0.3, allow_low_quality_matches=True), Matcher(0.5, 0.5)
    cases = {}
    for count in (8, 48, 500, 2000, 10_000):
        largest = 400.0 if count < 100 else 40.0  # a crowd is one of small objects
        gt_boxes = random_boxes(NUM_IMAGES, count, largest=largest, generator=generator)
        proposals = random_boxes(NUM_IMAGES, NUM_PROPOSALS, largest=largest, generator=generator)
        labels = torch.ones(NUM_IMAGES, count, dtype=torch.int64)
        tensors = (tensor.to(device) for tensor in (gt_boxes, labels, labels.bool()))
        targets = Targets(*tensors, None)
        cases[f"{len(anchors)} anchors, {count} objects"] = rpn, anchors, targets
        cases[f"{NUM_PROPOSALS} proposals, {count} objects"] = box_head, proposals.to(device), targets
    return cases


def peak_mib(run: Callable[[], object], device: str) -> float | None:
    """Memory of the tensors that `run` makes."""
    if device == "cpu":
        peak = peak_bytes_of(run)
        return None if peak is None else peak / MIB
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return (torch.cuda.max_memory_allocated() - before) / MIB


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=11, help="timed calls of each, taken in turns")
    parser.add_argument("--matrix-gib", type=float, default=8.0, help="memory that the matrix may take")
    parser.add_argument("--output", help="path without suffix for the .md and .json")
    arguments = parser.parse_args()

    rows, data = [], {}
    for name, (matcher, boxes, targets) in make_cases(arguments.device).items():

        def ours(matcher: Matcher = matcher, boxes: Tensor = boxes, targets: Targets = targets) -> Tensor:
            return matcher.match(boxes, targets)

        def matrix(matcher: Matcher = matcher, boxes: Tensor = boxes, targets: Targets = targets) -> Tensor:
            return matcher(box_iou(targets.boxes, boxes), targets.valid)

        candidates: dict[str, Callable[[], Tensor]] = {"ours": ours}
        if TENSORS_AT_ONCE * 4 * targets.valid.numel() * boxes.shape[-2] <= arguments.matrix_gib * 2**30:
            candidates["matrix"] = matrix
            if not torch.equal(ours(), matrix()):
                raise SystemExit(f"{name}: the operator and the matrix give different matches")
        seconds = common.interleaved(candidates, arguments.repeats)
        median = common.medians(seconds)
        memory = {key: peak_mib(run, arguments.device) for key, run in candidates.items()}
        ratio = median["matrix"] / median["ours"] if "matrix" in median else None
        rows.append(
            [
                name,
                *(f"{median[key] * 1e3:.2f}" if key in median else "-" for key in ("ours", "matrix")),
                f"{ratio:.1f}" if ratio else "-",
                *(f"{memory[key]:.1f}" if memory.get(key) else "-" for key in ("ours", "matrix")),
            ]
        )
        data[name] = {"median_s": median, "ratio": ratio, "memory_mib": memory, "seconds": seconds}
    common.report(
        "Matching of boxes to ground truth",
        [
            f"Medians of {arguments.repeats} calls taken in turns, on {arguments.device}.",
            f"{NUM_IMAGES} images. Memory: the most that tensors made in a call take at a time.",
        ],
        common.table(
            ["boxes", "ours, ms", "matrix, ms", "ratio", "ours, MiB", "matrix, MiB"],
            rows,
        ),
        {"device": arguments.device, "cases": data},
        arguments.output,
    )


if __name__ == "__main__":
    main()
