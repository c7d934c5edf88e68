"""On a GPU nothing between the images and the detections, or the losses, waits for the device.

Seen without one: the tensors say that they lie on a GPU and hold nothing, so that whatever needs a value of
theirs fails, and whatever moves between device and host is noted. (tests/gpu asks a real device.)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from maskrcnn_benchmark.config import load_config
from maskrcnn_benchmark.layers._extension import LOAD_ERROR
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.targets import PolygonBatch, Targets

pytestmark = pytest.mark.skipif(LOAD_ERROR is not None, reason="needs the compiled operators")

CONFIGS = Path(__file__).parents[2] / "configs"
# Results whose shape, or whose value in Python, depends on values: each waits for the device.
WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim", "equal")


class Waits(TorchDispatchMode):
    """Notes in `found` what would wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = operator(*args, **(kwargs or {}))
        name = operator.overloadpacket.__name__
        devices = {
            leaf.device.type
            for leaf in _pytree.tree_leaves((args, kwargs, result))
            if isinstance(leaf, Tensor) and leaf.dim() > 0
        }
        by_mask = name.startswith("index") and any(
            isinstance(leaf, Tensor) and leaf.dtype in (torch.bool, torch.uint8)
            for leaf in _pytree.tree_leaves(args[1])
        )
        if name in WAITING or by_mask or {"cpu", "cuda"} <= devices:
            self.found.append(f"{operator} between {sorted(devices)}")
        return result


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fronts of the operators, and autocast, take it that there is a GPU and kernels for it."""
    for front in ("mask_ops", "nms", "roi_align"):
        module = sys.modules[f"maskrcnn_benchmark.layers.{front}"]  # a function of the package has its name
        monkeypatch.setattr(module, "KERNEL_DEVICES", frozenset(("cpu", "meta", "cuda")))
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_args, **_kwargs: True)


@contextmanager
def moved(model: nn.Module) -> Iterator[None]:
    """While entered tensors hold nothing, and the model's lie on a GPU."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for tensors, wrap in ((module._parameters, nn.Parameter), (module._buffers, Tensor.detach)):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        empty = torch.empty_strided(
                            tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda"
                        )
                        tensors[name] = wrap(empty)
        yield


def make_batch() -> ImageList:
    pixels = torch.zeros((2, 128, 160, 3), dtype=torch.uint8, device="cuda").permute(0, 3, 1, 2)
    return ImageList(pixels, [(128, 160), (120, 96)], torch.zeros((2, 2), dtype=torch.int64, device="cuda"))


def make_targets() -> Targets:
    def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device="cuda")

    polygons = PolygonBatch(zeros(30, 2), zeros(11, dtype=torch.int32), zeros(17, dtype=torch.int32))
    return Targets(
        zeros(2, 8, 4), zeros(2, 8, dtype=torch.int64), zeros(2, 8, dtype=torch.bool), polygons, {}
    )


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "config",
    [
        "quick/mask_rcnn_V_39_FPN_gn_shapes.yaml",
        "e2e_mask_rcnn_R_50_FPN_2x.yaml",
        "e2e_mask_rcnn_R_50_C4_1x.yaml",
    ],
)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_nothing_waits(config: str, dtype: torch.dtype, training: bool) -> None:
    model = build_detection_model(load_config(os.fspath(CONFIGS / config))).train(training)
    waits = Waits()
    with moved(model):
        batch, targets = make_batch(), make_targets()
        with waits, torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
            if training:
                outputs: Any = list(model(batch, targets).values())
            else:
                with torch.no_grad():
                    outputs = _pytree.tree_leaves(model.inference(batch))
    assert not waits.found
    assert {tensor.device.type for tensor in outputs} == {"cuda"}
    floating = [tensor for tensor in outputs if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floating} == {torch.float32}


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(
    "waits_for",
    [
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: x.sum().item(),
        lambda x: bool(x.any()),
        lambda x: x.cpu(),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x + torch.ones(3).to(x.device),
    ],
)
def test_what_waits_is_seen(waits_for: Callable[[Tensor], object]) -> None:
    waits = Waits()
    with FakeTensorMode():
        x = torch.zeros(3, device="cuda")
        try:
            with waits:
                waits_for(x)
        except (DataDependentOutputException, DynamicOutputShapeException):  # of tensors without values
            return
    assert waits.found
