"""roi_align's gradients, and what the dispatcher asks of an operator."""

from functools import partial

import pytest
import torch
from layers.roi_cases import (
    FORMATS,
    SCALES,
    STRANGE_ROIS,
    TOLERANCE,
    UNUSABLE_ROIS,
    needs_library,
    pyramid,
    random_rois,
)

from maskrcnn_benchmark.layers import multilevel_roi_align
from maskrcnn_benchmark.layers.roi_align import is_channels_last, roi_align_with_torchvision


@needs_library
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_gradient_equals_torchvision(dtype, layout, channels_last, sampling_ratio):
    # Narrow types are compared with float32's gradient, rounded once: torchvision sums in rounded steps.
    features = [f.requires_grad_() for f in pyramid(channels=9, dtype=dtype, layout=layout)]
    wide = [
        f.detach().to(max(dtype, torch.float32, key=lambda t: t.itemsize)).requires_grad_() for f in features
    ]
    rois = torch.cat([random_rois(50, batch=2), STRANGE_ROIS, UNUSABLE_ROIS])
    pooled = multilevel_roi_align(features, rois, SCALES, (7, 7), sampling_ratio, channels_last)
    grad = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected = torch.autograd.grad(
        roi_align_with_torchvision(wide, rois, SCALES, (7, 7), sampling_ratio, channels_last),
        wide,
        grad.to(wide[0].dtype),
    )
    for found, reference, feature in zip(
        torch.autograd.grad(pooled, features, grad), expected, features, strict=True
    ):
        assert found.dtype == dtype
        assert is_channels_last(found) == is_channels_last(feature)
        torch.testing.assert_close(found, reference.to(dtype), **TOLERANCE[dtype])


@needs_library
@pytest.mark.parametrize("layout", FORMATS)
def test_gradcheck(layout):
    features = [f.requires_grad_() for f in pyramid(batch=2, channels=2, dtype=torch.float64, layout=layout)]
    features = [f.detach()[:, :, :9, :11].clone().requires_grad_() for f in features]
    rois = torch.tensor([[0.0, 2, 3, 30, 25], [1, 5, 1, 20, 33], [-1, 0, 0, 9, 9], [1, -8, -5, 300, 260]])
    assert torch.autograd.gradcheck(
        lambda *maps: multilevel_roi_align(maps, rois.double(), SCALES, (3, 2), 2), features, fast_mode=True
    )


@needs_library
@pytest.mark.parametrize("layout", FORMATS)
def test_result_does_not_depend_on_the_number_of_threads(layout):
    before = torch.get_num_threads()
    features = [f.requires_grad_() for f in pyramid(channels=16, layout=layout)]
    rois = random_rois(100, batch=2)
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            pooled = multilevel_roi_align(features, rois, SCALES, (7, 7), 2)
            results.append([pooled, *torch.autograd.grad(pooled.square().sum(), features)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_library
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_opcheck(layout, dtype):
    features = [f.requires_grad_() for f in pyramid(channels=3, dtype=dtype, layout=layout)]
    op = torch.ops.maskrcnn_benchmark.roi_align
    torch.library.opcheck(op, (features, random_rois(5, batch=2), list(SCALES), 3, 2, 2, True))
    shapes = [side for f in features for side in f.shape]
    backward = torch.ops.maskrcnn_benchmark.roi_align_backward
    grad = torch.randn(5, 3, 3, 2, dtype=dtype)
    torch.library.opcheck(
        backward, (grad, random_rois(5, batch=2), shapes, list(SCALES), 3, 2, 2, layout == "channels_last")
    )


@needs_library
def test_compiles_whole_with_changing_sizes():
    pool = torch.compile(
        partial(multilevel_roi_align, scales=SCALES, output_size=(7, 7), sampling_ratio=2),
        fullgraph=True,
        dynamic=True,
        backend="aot_eager",
    )
    for num_rois, rows in ((20, 48), (31, 40)):
        features = [f[:, :, : rows >> i].clone().requires_grad_() for i, f in enumerate(pyramid())]
        rois = random_rois(num_rois, batch=2)
        found, expected = pool(features, rois), multilevel_roi_align(features, rois, SCALES, (7, 7), 2)
        assert torch.equal(found, expected)
        pairs = zip(
            *(torch.autograd.grad(out.square().sum(), features) for out in (found, expected)), strict=True
        )
        assert all(torch.equal(a, b) for a, b in pairs)


@needs_library
def test_autocast_leaves_features_and_rois_as_they_are():
    features, rois = pyramid(), random_rois(20, batch=2)
    plain = multilevel_roi_align(features, rois, SCALES, (7, 7), 2)
    narrow = multilevel_roi_align([f.bfloat16() for f in features], rois, SCALES, (7, 7), 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(multilevel_roi_align(features, rois, SCALES, (7, 7), 2), plain)
        assert torch.equal(
            multilevel_roi_align([f.bfloat16() for f in features], rois, SCALES, (7, 7), 2), narrow
        )
