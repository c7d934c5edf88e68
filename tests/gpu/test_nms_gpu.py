"""nms and batched_nms on a GPU: the CPU's numbers, no synchronisation, capture in a CUDA graph."""

import pytest
import torch

from maskrcnn_benchmark.layers import batched_nms, nms
from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.skipif("cuda" not in KERNEL_DEVICES, reason="the CUDA operators are not built here"),
]


def batch(images: int, n: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Boxes around a few centres with ties, NaN and infinities among them."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 30, (images, n, 2), generator=generator) * 20.0
    corner += torch.randn(images, n, 2, generator=generator) * 5
    size = torch.rand(images, n, 2, generator=generator) * 40 + 20
    boxes = torch.cat([corner, corner + size], dim=2)
    scores = torch.randint(-5, 200, (images, n), generator=generator) / 200
    boxes.view(-1)[::97] = float("nan")
    boxes.view(-1)[::101] = float("inf")
    scores.view(-1)[::53] = float("nan")
    scores.view(-1)[::59] = float("-inf")
    return {
        "boxes": boxes,
        "scores": scores,
        "groups": torch.randint(-1, 3, (images, n), generator=generator),
        "valid": torch.rand(images, n, generator=generator) < 0.9,
    }


def to_gpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.cuda() for name, tensor in tensors.items()}


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1000, 5000])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_nms_equals_the_cpu(n, threshold):
    data = batch(1, n)
    expected = nms(data["boxes"][0], data["scores"][0], threshold)
    assert torch.equal(nms(data["boxes"][0].cuda(), data["scores"][0].cuda(), threshold).cpu(), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_equals_the_cpu(dtype):
    data = batch(1, 700)
    boxes, scores = data["boxes"][0].to(dtype), data["scores"][0].to(dtype)
    assert torch.equal(nms(boxes.cuda(), scores.cuda(), 0.5).cpu(), nms(boxes, scores, 0.5))


@pytest.mark.parametrize(
    "images, n, max_output", [(1, 10, 0), (2, 300, 100), (4, 2500, 1000), (3, 8192, 8192)]
)
def test_batched_nms_equals_the_cpu(images, n, max_output):
    data = batch(images, n)
    expected = batched_nms(**data, threshold=0.5, max_output=max_output)
    for ours, theirs in zip(
        batched_nms(**to_gpu(data), threshold=0.5, max_output=max_output), expected, strict=True
    ):
        assert torch.equal(ours.cpu(), theirs)


def test_batched_nms_does_not_synchronise():
    data = to_gpu(batch(2, 5000))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        batched_nms(**data, threshold=0.7, max_output=1000)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_batched_nms_in_a_cuda_graph():
    data, other = to_gpu(batch(2, 3000)), batch(2, 3000, seed=1)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        batched_nms(**data, threshold=0.6, max_output=500)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        index, keep = batched_nms(**data, threshold=0.6, max_output=500)
    for name, tensor in other.items():
        data[name].copy_(tensor)
    graph.replay()
    expected_index, expected_keep = batched_nms(**other, threshold=0.6, max_output=500)
    assert torch.equal(index.cpu(), expected_index) and torch.equal(keep.cpu(), expected_keep)


def test_memory_stays_bounded():
    data = to_gpu(batch(16, 8192))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    batched_nms(**data, threshold=0.7, max_output=1000)
    assert torch.cuda.max_memory_allocated() - before < 200 * 2**20
