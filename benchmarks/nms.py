"""Time of NMS beside torchvision's, on the same boxes in the same run.

    python benchmarks/nms.py [--device cuda] [--output benchmarks/results/nms_cpu]

torchvision gets its boxes with x2 and y2 already raised by 1, so that both return the same indices, which is
checked. The batched rows hold what a detector asks for: torchvision.ops.batched_nms once an image, then the
best D.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import common
import torch
import torchvision
from torch import Tensor

from maskrcnn_benchmark.layers import batched_nms, nms

IMAGE_WH = torch.tensor([1333.0, 800.0])
NUM_CLUSTERS = 100  # objects on the image


def spread_boxes(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n boxes of 10 to 110 pixels anywhere on the image, and their scores."""
    centre = torch.rand(n, 2, generator=generator) * IMAGE_WH
    size = torch.rand(n, 2, generator=generator) * 100 + 10
    return torch.cat([centre - size / 2, centre + size / 2], dim=1), torch.rand(n, generator=generator)


def clustered_boxes(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n boxes around NUM_CLUSTERS objects of 20 to 220 pixels, shifted and scaled as proposals are."""
    centre = torch.rand(NUM_CLUSTERS, 2, generator=generator) * IMAGE_WH
    size = torch.rand(NUM_CLUSTERS, 2, generator=generator) * 200 + 20
    pick = torch.randint(NUM_CLUSTERS, (n,), generator=generator)
    box_centre = centre[pick] + torch.randn(n, 2, generator=generator) * 0.1 * size[pick]
    box_size = size[pick] * torch.exp(torch.randn(n, 2, generator=generator) * 0.15)
    boxes = torch.cat([box_centre - box_size / 2, box_centre + box_size / 2], dim=1)
    return boxes, torch.rand(n, generator=generator)


def raised(boxes: Tensor) -> Tensor:
    """Boxes whose far corners lie one pixel on: what torchvision needs to count pixels as we do."""
    return boxes + boxes.new_tensor([0, 0, 1, 1])


def single_case(boxes: Tensor, scores: Tensor, threshold: float) -> tuple[Callable, Callable, int]:
    """Our call, torchvision's, and how many boxes both keep."""
    boxes_plus_one = raised(boxes)
    ours, theirs = (
        lambda: nms(boxes, scores, threshold),
        lambda: torchvision.ops.nms(boxes_plus_one, scores, threshold),
    )
    kept, others = ours(), theirs()
    if not torch.equal(kept, others):
        only = len(set(kept.tolist()) ^ set(others.tolist()))
        raise SystemExit(f"nms and torchvision differ in {only} of {len(kept)} boxes, or in their order")
    return ours, theirs, len(kept)


def batched_case(
    boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, max_output: int
) -> tuple[Callable, Callable, int]:
    """The same for [B, K] boxes in groups, of which each image's best max_output are wanted."""
    valid = torch.ones_like(groups, dtype=torch.bool)
    boxes_plus_one = raised(boxes)

    def theirs() -> list[Tensor]:
        batch = zip(boxes_plus_one, scores, groups, strict=True)
        return [torchvision.ops.batched_nms(*image, threshold)[:max_output] for image in batch]

    def ours() -> tuple[Tensor, Tensor]:
        return batched_nms(boxes, scores, groups, valid, threshold, max_output)

    return ours, theirs, int(ours()[1].sum())


def make_cases(device: str) -> dict[str, tuple[Callable, Callable, int]]:
    generator = torch.Generator().manual_seed(0)
    cases = {}
    for kind, make in (("random", spread_boxes), ("clustered", clustered_boxes)):
        for n in (1000, 2000, 8000):
            for threshold in (0.5, 0.7):
                boxes, scores = (tensor.to(device) for tensor in make(n, generator))
                cases[f"{n} {kind}, threshold {threshold}"] = single_case(boxes, scores, threshold)
    for name, images, n, num_groups, threshold, max_output in (
        ("proposals: 2 x 5 levels x 1000 clustered, best 1000", 2, 5000, 5, 0.7, 1000),
        ("detections: 2 x 1000 clustered, 80 classes, best 100", 2, 1000, 80, 0.5, 100),
    ):
        pairs = [clustered_boxes(n, generator) for _ in range(images)]
        boxes, scores = (torch.stack(tensors).to(device) for tensors in zip(*pairs, strict=True))
        groups = (torch.arange(n) % num_groups).expand(images, n).contiguous().to(device)
        cases[name] = batched_case(boxes, scores, groups, threshold, max_output)
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=21, help="timed calls of each, taken in turns")
    parser.add_argument("--output", help="path without suffix for the .md and .json")
    arguments = parser.parse_args()

    rows, data = [], {}
    for name, (ours, theirs, num_kept) in make_cases(arguments.device).items():
        seconds = common.interleaved({"ours": ours, "torchvision": theirs}, arguments.repeats, warmup=2)
        median = common.medians(seconds)
        ratio = median["torchvision"] / median["ours"]
        rows.append(
            [
                name,
                num_kept,
                f"{median['ours'] * 1e3:.3f}",
                f"{median['torchvision'] * 1e3:.3f}",
                f"{ratio:.1f}",
            ]
        )
        data[name] = {"kept": num_kept, "median_s": median, "ratio": ratio, "seconds": seconds}
    common.report(
        "NMS",
        [f"Medians of {arguments.repeats} calls taken in turns, on {arguments.device}; milliseconds."],
        common.table(["boxes", "kept", "ours", "torchvision", "ratio"], rows),
        {"device": arguments.device, "cases": data},
        arguments.output,
    )


if __name__ == "__main__":
    main()
