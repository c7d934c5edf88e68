"""What a result says of the machine, where a GPU is asked for what it has not said itself."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from maskrcnn_benchmark.benchmark.run import environment


@pytest.fixture
def settings() -> Iterator[tuple[object, object]]:
    """Where TF32 is switched on and off, for convolutions and for matrix products."""
    places = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [place.allow_tf32 for place in places]
    yield places
    for place, value in zip(places, before, strict=True):
        place.allow_tf32 = value


@pytest.mark.parametrize(
    ("convolutions", "products", "words"),
    [
        (True, False, "convolutions yes, matrix products no"),
        (False, True, "convolutions no, matrix products yes"),
    ],
)
def test_float32_on_a_gpu_says_whether_it_is_tf32(
    settings: tuple[object, object],
    monkeypatch: pytest.MonkeyPatch,
    convolutions: bool,
    products: bool,
    words: str,
) -> None:
    settings[0].allow_tf32, settings[1].allow_tf32 = convolutions, products  # type: ignore[attr-defined]
    monkeypatch.setattr(environment, "nvidia_smi", lambda field, _device: "N" if field == "pstate" else None)
    state = environment.machine_state(torch.device("cuda"))
    assert state["TF32 in float32"] == words
    assert state["GPU performance state"] == "N"
    assert "TF32 in float32" not in environment.machine_state(torch.device("cpu"))


def test_a_gpu_is_asked_by_its_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nvidia-smi` counts all GPUs, torch those that CUDA_VISIBLE_DEVICES leaves: the UUID is the same."""
    asked: list[list[str]] = []
    monkeypatch.setattr(environment.shutil, "which", lambda _name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _device: SimpleNamespace(uuid="12-34"), raising=False
    )

    def output_of(command: list[str]) -> str | None:
        asked.append(command)
        return "[N/A]" if "power" in command[2] else "1980 MHz"

    monkeypatch.setattr(environment, "_output_of", output_of)
    assert environment.nvidia_smi("clocks.sm", torch.device("cuda", 0)) == "1980 MHz"
    assert environment.nvidia_smi("power.limit", torch.device("cuda", 0)) is None
    assert all("--id=GPU-12-34" in command for command in asked)
