"""roi_align on a GPU: the CPU's numbers, no synchronisation, capture in a CUDA graph."""

import pytest
import torch
from layers.roi_cases import FORMATS, SCALES, STRANGE_ROIS, TOLERANCE, UNUSABLE_ROIS, pyramid, random_rois

from maskrcnn_benchmark.layers import multilevel_roi_align
from maskrcnn_benchmark.layers._extension import KERNEL_DEVICES
from maskrcnn_benchmark.layers.roi_align import is_channels_last

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.skipif("cuda" not in KERNEL_DEVICES, reason="the CUDA operators are not built here"),
]


def all_rois() -> torch.Tensor:
    return torch.cat([random_rois(80, batch=2), STRANGE_ROIS, UNUSABLE_ROIS])


def pool_and_spread(features, rois, grad, sampling_ratio, channels_last):
    """The pooled features, and the gradients that `grad` sends to the maps."""
    maps = [f.clone().requires_grad_() for f in features]
    pooled = multilevel_roi_align(maps, rois, SCALES, (7, 7), sampling_ratio, channels_last)
    return [pooled.detach(), *torch.autograd.grad(pooled, maps, grad)]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [7, 64])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_equals_the_cpu(dtype, layout, channels_last, channels, sampling_ratio):
    features = pyramid(channels=channels, dtype=dtype, layout=layout)
    rois = all_rois().to(torch.float64 if dtype == torch.float64 else torch.float32)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(len(rois), channels, 7, 7, generator=generator).to(dtype)
    expected = pool_and_spread(features, rois, grad, sampling_ratio, channels_last)
    on_gpu = [f.cuda() for f in features]
    found = pool_and_spread(on_gpu, rois.cuda(), grad.cuda(), sampling_ratio, channels_last)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert is_channels_last(one) == is_channels_last(other)
        torch.testing.assert_close(one.cpu(), other, **TOLERANCE[dtype])


@pytest.mark.parametrize("layout", FORMATS)
def test_neither_direction_synchronises(layout):
    features = [f.cuda().requires_grad_() for f in pyramid(channels=32, layout=layout)]
    rois = all_rois().cuda()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        pooled = multilevel_roi_align(features, rois, SCALES, (7, 7), 2)
        torch.autograd.grad(pooled.sum(), features)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_capture_in_a_graph():
    features, rois = [f.cuda() for f in pyramid(channels=32, layout="channels_last")], all_rois().cuda()
    multilevel_roi_align(features, rois, SCALES, (7, 7), 2)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        pooled = multilevel_roi_align(features, rois, SCALES, (7, 7), 2)
    rois.copy_(rois.roll(3, dims=0))
    graph.replay()
    expected = multilevel_roi_align(features, rois, SCALES, (7, 7), 2)
    torch.testing.assert_close(pooled, expected)


def test_deterministic_mode_gives_the_cpu_gradient():
    features, rois = pyramid(channels=8), all_rois()
    grad = torch.randn(len(rois), 8, 7, 7, generator=torch.Generator().manual_seed(1))
    expected = pool_and_spread(features, rois, grad, 2, True)
    torch.use_deterministic_algorithms(True)
    try:
        found = pool_and_spread([f.cuda() for f in features], rois.cuda(), grad.cuda(), 2, True)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(found[1:], expected[1:], strict=True))


def test_works_on_the_current_stream_and_device():
    features, rois = [f.cuda() for f in pyramid(channels=32)], all_rois().cuda()
    expected = multilevel_roi_align(features, rois, SCALES, (7, 7), 2)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        late = [f + 0 for f in features]
        pooled = multilevel_roi_align(late, rois, SCALES, (7, 7), 2)
    stream.synchronize()
    torch.testing.assert_close(pooled, expected)


def test_unaligned_maps():
    """A map that does not start at a multiple of 16 bytes is read element by element."""
    feature = torch.randn(1 * 16 * 16 * 8 + 1, device="cuda")[1:].view(1, 16, 16, 8).permute(0, 3, 1, 2)
    rois = torch.tensor([[0.0, 3, 4, 50, 41]], device="cuda")
    found = multilevel_roi_align([feature], rois, [0.25], (7, 7), 2)
    expected = multilevel_roi_align([feature.cpu()], rois.cpu(), [0.25], (7, 7), 2)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-5)
