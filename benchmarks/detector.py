"""R-50-FPN Mask R-CNN beside torchvision's maskrcnn_resnet50_fpn: one image of 800 x 1216, the same random
weights.

    python benchmarks/detector.py --output benchmarks/results/detector_cpu

Both get the same weights, scaled so that the load is that of a trained model: about 1000 proposals into the
box head, 100 detections out of it. "Core" is images to detections with mask logits; "whole" adds what each
does with the masks as it comes: torchvision pastes them into full images, we encode them as COCO RLE.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import torch
import torchvision
from common import interleaved, medians, report, table
from torch import Tensor, nn

from maskrcnn_benchmark.benchmark.measure.peers import without_pasting
from maskrcnn_benchmark.benchmark.measure.random_weights import quiet_residuals, spread_outputs
from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.engine.precision import Precision, resolve_precision, set_precision
from maskrcnn_benchmark.layers import paste_masks_rle
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model
from maskrcnn_benchmark.utils.host_memory import keep_freed_memory

HEIGHT, WIDTH, NUM_CLASSES = 800, 1216, 91
CONFIG = "configs/e2e_mask_rcnn_R_50_FPN_1x.yaml"
# torchvision's body, classes and pixel statistics (its are red, green, blue in 0..1)
OPTIONS = [
    *("MODEL.RESNETS.STRIDE_IN_1X1", "False"),
    *("MODEL.ROI_BOX_HEAD.NUM_CLASSES", str(NUM_CLASSES)),
    *("INPUT.PIXEL_MEAN", "[103.53, 116.28, 123.675]"),
    *("INPUT.PIXEL_STD", "[57.375, 57.12, 58.395]"),
]
BATCH_NORM_EPS = 1e-5


def build_torchvision() -> nn.Module:
    """The peer with random weights whose activations keep their scale."""
    torch.manual_seed(0)
    model = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, min_size=HEIGHT, max_size=1333, num_classes=NUM_CLASSES
    ).eval()
    quiet_residuals(model)
    return model


def scale_random_weights(model: nn.Module, image: Tensor) -> None:
    """Gives the peer the load of a trained model."""

    def run() -> None:
        with without_pasting(model):
            model([image])

    spread_outputs(model.rpn.head, model.roi_heads.box_predictor, run)


def our_name(name: str) -> str | None:
    """Our name of a torchvision entry; None for counters that we do not keep."""
    if name.endswith("num_batches_tracked"):
        return None
    for theirs, ours in (
        ("backbone.body.conv1.", "backbone.body.stem.conv1."),
        ("backbone.body.bn1.", "backbone.body.stem.bn1."),
    ):
        if name.startswith(theirs):
            return name.replace(theirs, ours)
    for kind, ours in (("inner", "inner"), ("layer", "layer")):
        for level in range(4):
            name = name.replace(
                f"backbone.fpn.{kind}_blocks.{level}.0.", f"backbone.fpn.fpn_{ours}{level + 1}."
            )
            name = name.replace(
                f"roi_heads.mask_head.{level}.0.", f"roi_heads.mask.feature_extractor.mask_fcn{level + 1}."
            )
    name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
    name = name.replace("roi_heads.box_head.", "roi_heads.box.feature_extractor.")
    name = name.replace("roi_heads.box_predictor.", "roi_heads.box.predictor.")
    return name.replace("roi_heads.mask_predictor.", "roi_heads.mask.predictor.")


def build_ours(peer: nn.Module) -> GeneralizedRCNN:
    """Our detector with the peer's weights; batch norm's eps goes into the variance of the frozen norm."""
    model = build_detection_model(load_config(CONFIG, OPTIONS)).eval()
    state = model.state_dict()
    taken = set()
    for name, value in peer.state_dict().items():
        ours = our_name(name)
        if ours is not None:
            if name == "backbone.body.conv1.weight":
                value = value.flip(1)  # blue, green, red
            state[ours].copy_(value + BATCH_NORM_EPS if name.endswith("running_var") else value)
            taken.add(ours)
    left = [name for name in state if name not in taken and "cell_anchors" not in name]
    assert not left, f"entries without a counterpart: {left}"
    return model


def make_candidates(
    peer: nn.Module, ours: GeneralizedRCNN, image: Tensor, dtype: torch.dtype
) -> dict[str, Callable[[], object]]:
    """Core and whole of both, in one dtype; in bfloat16 torchvision too gets autocast."""
    device = image.device
    raw = (image * 255).to(torch.uint8).flip(0)

    name = str(dtype).removeprefix("torch.")
    precision = resolve_precision(name, device, training=False)
    set_precision(ours, precision)

    def peer_core() -> object:
        with Precision(dtype).autocast(device), without_pasting(peer):
            return peer([image])

    def peer_whole() -> object:
        with Precision(dtype).autocast(device):
            return peer([image])

    def our_core() -> object:
        with precision.autocast(device):
            return ours([raw])

    def our_whole() -> object:
        with precision.autocast(device):
            (found,) = ours([raw])
        found = found.to("cpu")
        return paste_masks_rle(found.get_field("mask"), found.bbox, (HEIGHT, WIDTH))

    return {
        f"torchvision core {name}": peer_core,
        f"ours core {name}": our_core,
        f"torchvision whole {name}": peer_whole,
        f"ours whole {name}": our_whole,
    }


def describe_load(peer: nn.Module, ours: GeneralizedRCNN, image: Tensor) -> str:
    """How many proposals and detections each of the two has on this image."""
    counts: list[int] = []
    hook = peer.roi_heads.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[1][0])))
    with without_pasting(peer):
        detections = len(peer([image])[0]["boxes"])
    hook.remove()
    raw = (image * 255).to(torch.uint8).flip(0).unsqueeze(0)
    images = ours._to_batch(raw)
    proposals, _ = ours.rpn(ours.backbone(ours.normalize(images)), images.sizes)
    found = ours.inference(raw)
    return (
        f"Load: torchvision {counts[0]} proposals, {detections} detections; "
        f"ours {int(proposals.valid.sum())} proposals, {int(found.valid.sum())} detections."
    )


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", help="path without suffix for the .md and .json")
    arguments = parser.parse_args()
    keep_freed_memory()  # for both: as this project's tools do, and whoever serves a model on a CPU
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    image = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    image = (
        torch.nn.functional.avg_pool2d(image[None], 9, 1, 4)[0]
        .sub(0.5)
        .mul(5)
        .add(0.5)
        .clamp(0, 1)
        .to(device)
    )
    peer = build_torchvision().to(device)
    scale_random_weights(peer, image)
    ours = build_ours(peer).to(device)
    notes = [describe_load(peer, ours, image)]
    computed = str(resolve_precision("bfloat16", device, training=False))
    if computed != "bfloat16":
        notes.append(
            "This CPU has no bfloat16 instructions: torchvision emulates it; ours (DTYPE bfloat16) is "
            f"computed in {computed}, as the tools do."
        )
    # A model for each type: what one prepares for it must not be made again at every turn.
    models = {
        torch.float32: (peer, ours),
        torch.bfloat16: (copy.deepcopy(peer).to(memory_format=torch.channels_last), copy.deepcopy(ours)),
    }
    candidates: dict[str, Callable[[], object]] = {}
    for dtype, (same_peer, same_ours) in models.items():
        candidates |= make_candidates(same_peer, same_ours, image, dtype)
    seconds = medians(interleaved(candidates, arguments.repeats))
    rows: list[list[object]] = []
    for part in ("core", "whole"):
        for ours_in, peer_in in (("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "bfloat16")):
            own, other = seconds[f"ours {part} {ours_in}"], seconds[f"torchvision {part} {peer_in}"]
            rows.append(
                [part, ours_in, f"{1000 * own:.0f}", peer_in, f"{1000 * other:.0f}", f"{other / own:.2f}"]
            )
    header = ["part", "ours in", "ms", "torchvision in", "ms", "times as fast"]
    report(
        "R-50-FPN Mask R-CNN, one 800 x 1216 image",
        notes,
        table(header, rows),
        {"seconds": seconds},
        arguments.output,
    )


if __name__ == "__main__":
    main()
