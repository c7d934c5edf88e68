"""Which type a device computes in."""

from __future__ import annotations

import pytest
import torch

from maskrcnn_benchmark.utils.device import compute_dtype


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"bf16": True}, torch.bfloat16),
        ({}, torch.bfloat16),
    ],
)
def test_half_precision_needs_a_processor_with_it(
    capabilities: dict[str, bool],
    expected: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert compute_dtype("bfloat16", torch.device("cpu")) == expected
    assert ("no instructions" in caplog.text) == (expected == torch.float32)
    assert compute_dtype("float32", torch.device("cpu")) == torch.float32
    assert compute_dtype("float16", torch.device("cuda")) == torch.float16
