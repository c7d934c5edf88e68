"""Training memory of a VoVNet detector with its OSA concatenations rebuilt in backward, or stored.

    python benchmarks/training_memory.py                        # V-39 Mask R-CNN, 2 x 3 x 800 x 1344
    python benchmarks/training_memory.py --part backbone        # body and FPN alone
    python benchmarks/training_memory.py --dtype bfloat16
    python benchmarks/training_memory.py --output benchmarks/results

Every variant runs in a process of its own: iterations of forward, backward and SGD step on random images with
drawn objects. Memory is in MiB: the allocator's peak on a GPU, the largest resident set on a CPU ("before" is
that of the process with the model, before the first iteration).
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.utils.device import memory_in_use, reset_peak_memory, resolve_device

VARIANTS = {"rebuilt": True, "stored": False}
OBJECTS_PER_IMAGE = 8


class BackboneLoss(nn.Module):
    """The backbone with a loss that reaches every level."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"loss": torch.stack([level.float().square().mean() for level in self.backbone(images)]).sum()}


def draw_targets(images: Tensor, with_masks: bool) -> list[BoxList]:
    """Per image a grid of boxes of classes 1..8, with rectangles as masks."""
    height, width = images.shape[-2:]
    targets: list[BoxList] = []
    for _ in images:
        left = torch.arange(OBJECTS_PER_IMAGE) * width / OBJECTS_PER_IMAGE
        top = torch.arange(OBJECTS_PER_IMAGE) % 3 * height / 4
        boxes = torch.stack([left, top, left + width / 10, top + height / 4], dim=1)
        target = BoxList(boxes, (width, height), mode="xyxy")
        target.add_field("labels", torch.arange(1, OBJECTS_PER_IMAGE + 1))
        if with_masks:
            polygons = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes.tolist()]
            target.add_field("masks", SegmentationMask(polygons, (width, height)))
        targets.append(target)
    return targets


def measure(args: argparse.Namespace, recompute: bool) -> dict[str, float]:
    """Memory (MiB) and seconds an iteration of one variant, in this process."""
    torch.manual_seed(0)
    cfg = load_config(args.config_file, ["MODEL.VOVNET.RECOMPUTE_CONCAT", str(recompute)])
    device = resolve_device(args.device)
    images = torch.randn(args.images, 3, args.height, args.width, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    if args.part == "backbone":
        model: nn.Module = BackboneLoss(build_backbone(cfg))
        inputs: tuple[object, ...] = (images,)
    else:
        model = build_detection_model(cfg)
        inputs = (images, draw_targets(images, cfg.MODEL.MASK_ON))
    model.to(device).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-8, momentum=0.9)
    before = memory_in_use(device)
    reset_peak_memory(device)
    seconds = 0.0
    for _ in range(args.iterations):
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=args.dtype == "bfloat16"):
            losses = model(*inputs)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start  # the last one counts: the first warms up
    return (
        {f"before: {name}": value for name, value in before.items()}
        | memory_in_use(device)
        | {"s/iter": seconds}
    )


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{model[0].split(':')[1].strip() if model else platform.processor()}, {len(model)} cores"


def table(args: argparse.Namespace, results: dict[str, dict[str, float]]) -> str:
    """Markdown: what ran where, a row a variant, and the ratio of each number."""
    columns = list(results["rebuilt"])
    size = f"{args.images} x 3 x {args.height} x {args.width}"
    lines = [
        f"# Training memory: {Path(args.config_file).stem}, {args.part}, {size}, {args.dtype}",
        "",
        f"{datetime.date.today()}, {machine(resolve_device(args.device))}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads",
        "",
        "| concatenation | " + " | ".join(columns) + " |",
        "| :-- | " + " | ".join("--:" for _ in columns) + " |",
    ]
    for name, numbers in results.items():
        lines.append(f"| {name} | " + " | ".join(f"{numbers[column]:.1f}" for column in columns) + " |")
    ratios = [results["rebuilt"][column] / max(results["stored"][column], 1e-9) for column in columns]
    return "\n".join([*lines, "| ratio | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |", ""])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", default="configs/vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml")
    parser.add_argument("--part", choices=["detector", "backbone"], default="detector")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--width", type=int, default=1344)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--output", type=Path, help="folder for the table (.md) and the numbers (.json)")
    parser.add_argument("--variant", choices=list(VARIANTS), help="run this one here and print its numbers")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.variant:
        print(json.dumps(measure(args, VARIANTS[args.variant])))
        return
    results = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        results[variant] = json.loads(output.splitlines()[-1])
    text = table(args, results)
    print(text)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        name = f"training_memory_{args.part}_{resolve_device(args.device).type}_{args.dtype}"
        (args.output / f"{name}.md").write_text(text, encoding="utf-8")
        (args.output / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
