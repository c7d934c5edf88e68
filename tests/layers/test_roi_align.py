"""roi_align's values against a slow reference, torchvision, and its own fallback."""

import pytest
import torch
import torchvision
from layers.roi_cases import (
    FORMATS,
    SCALES,
    STRANGE_ROIS,
    TOLERANCE,
    UNUSABLE_ROIS,
    needs_library,
    pyramid,
    random_rois,
    slow_roi_align,
)

from maskrcnn_benchmark.layers import ROIAlign, ROIPool, multilevel_roi_align, roi_align
from maskrcnn_benchmark.layers.roi_align import is_channels_last, roi_align_with_torchvision

implementations = pytest.mark.parametrize(
    "pool",
    [
        pytest.param(multilevel_roi_align, id="compiled", marks=needs_library),
        pytest.param(roi_align_with_torchvision, id="fallback"),
    ],
)


@implementations
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
def test_equals_the_slow_reference(pool, layout, sampling_ratio):
    feature = pyramid(channels=3, layout=layout, scales=SCALES[1:2])[0]
    rois = torch.cat([random_rois(12, batch=2), STRANGE_ROIS, UNUSABLE_ROIS])
    pooled = pool([feature], rois, SCALES[1:2], (3, 4), sampling_ratio, channels_last=True)
    expected = slow_roi_align(feature, rois, (3, 4), SCALES[1], sampling_ratio)
    torch.testing.assert_close(pooled.double(), expected, rtol=1e-4, atol=1e-4)


@needs_library
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [1, 7, 64, 75])
def test_equals_torchvision_on_every_type_and_layout(dtype, layout, channels_last, channels):
    features = pyramid(channels=channels, dtype=dtype, layout=layout)
    rois = torch.cat([random_rois(60, batch=2), STRANGE_ROIS, UNUSABLE_ROIS]).to(
        torch.float64 if dtype == torch.float64 else torch.float32
    )
    pooled = multilevel_roi_align(features, rois, SCALES, (7, 7), 2, channels_last)
    expected = roi_align_with_torchvision(features, rois, SCALES, (7, 7), 2, channels_last)
    assert pooled.dtype == dtype
    assert pooled.is_contiguous(memory_format=FORMATS["channels_last" if channels_last else "contiguous"])
    torch.testing.assert_close(pooled, expected, **TOLERANCE[dtype])


@needs_library
@pytest.mark.parametrize("size, sampling_ratio", [((14, 14), 2), ((7, 7), 0), ((1, 1), 0), ((2, 5), 4)])
def test_one_level_equals_torchvision(size, sampling_ratio):
    feature = pyramid(channels=4)[0]
    rois = random_rois(80, batch=2)
    pooled = ROIAlign(size, SCALES[0], sampling_ratio)(feature, rois)
    expected = torchvision.ops.roi_align(feature, rois, size, SCALES[0], sampling_ratio, aligned=False)
    torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-5)


@implementations
def test_level_of_a_roi(pool):
    """The rule's borders, sqrt((w + 1)(h + 1)) = 224 and 448 pixels; each map holds its own number."""
    maps = [torch.full((1, 1, 64 >> i, 64 >> i), float(i)) for i in range(3)]
    sides = [0.0, 110.9, 111.0, 222.9, 223.0, 447.0, 2000.0]
    rois = torch.tensor([[0, 0, 0, side, side] for side in sides])
    pooled = pool(maps, rois, [1 / 8, 1 / 16, 1 / 32], (1, 1), 1, channels_last=False)
    # 1/8 is the level 3: below 224 pixels, then level 4, and 5 from 448 on.
    assert pooled.flatten()[:6].tolist() == [0, 0, 0, 0, 1, 2]


@implementations
def test_a_negative_area_has_no_level(pool):
    rois = torch.tensor([[0.0, 50, 50, 20, 90]])
    features = pyramid()
    assert pool(features, rois, SCALES, (2, 2), 2, channels_last=False).eq(0).all()
    assert pool(features[:1], rois, SCALES[:1], (2, 2), 2, channels_last=False).ne(0).any()


@needs_library
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_absurd_boxes_end(sampling_ratio):
    """Finite boxes of any size: no endless loop, no read outside, finite values."""
    big = [1e5, 1e9, 1e20, 3e38]
    rois = torch.tensor([[0, -b, -b, b, b] for b in big] + [[0, b, 0, b, 5] for b in big])
    features = [f.requires_grad_() for f in pyramid(channels=2)]
    for maps, scales in ((features, SCALES), (features[:1], SCALES[:1])):
        pooled = multilevel_roi_align(maps, rois, scales, (2, 2), sampling_ratio)
        assert pooled.isfinite().all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(pooled.sum(), maps))


@needs_library
def test_features_that_are_not_dense():
    """Slices, and levels in different formats."""
    features = [f[:, 1:4, :, ::2] for f in pyramid(channels=6)]
    features[1] = features[1].contiguous(memory_format=torch.channels_last)
    rois = random_rois(30, batch=2, image_hw=(192, 128))
    pooled = multilevel_roi_align(features, rois, SCALES, (7, 7), 2)
    expected = roi_align_with_torchvision(features, rois, SCALES, (7, 7), 2, True)
    torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-5)


@implementations
@pytest.mark.parametrize("shape, num_rois", [((2, 3, 8, 8), 0), ((2, 0, 8, 8), 4), ((0, 3, 8, 8), 4)])
def test_empty_input(pool, shape, num_rois):
    feature = torch.randn(shape, requires_grad=True)
    pooled = pool([feature], random_rois(num_rois, batch=2), [0.25], (7, 7), 2, channels_last=True)
    assert pooled.shape == (num_rois, shape[1], 7, 7)
    assert pooled.eq(0).all()
    (grad,) = torch.autograd.grad(pooled.sum(), feature)
    assert grad.shape == shape
    assert grad.eq(0).all()


@needs_library
def test_map_without_pixels():
    feature = torch.randn(1, 3, 0, 8, requires_grad=True)
    pooled = multilevel_roi_align([feature], torch.tensor([[0.0, 0, 0, 9, 9]]), [0.25], (2, 2), 2)
    assert pooled.eq(0).all()
    assert torch.autograd.grad(pooled.sum(), feature)[0].shape == feature.shape


@needs_library
def test_narrow_types_round_to_nearest_even():
    """Every finite value comes through a pooling of one pixel; a mean rounds as torch rounds."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        values = bits.view(dtype)
        feature = values[values.isfinite()].reshape(1, -1, 1, 1)
        pooled = multilevel_roi_align([feature], torch.tensor([[0.0, 0, 0, 0, 0]]), [1.0], (1, 1), 1)
        assert torch.equal(pooled, feature)
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float16, torch.bfloat16):
        pair = torch.randn(1, 4096, 1, 2, generator=generator) * torch.logspace(-8, 4, 4096).view(1, -1, 1, 1)
        feature = pair.to(dtype)
        pooled = multilevel_roi_align([feature], torch.tensor([[0.0, 0, 0, 1, 0]]), [1.0], (1, 1), 1)
        assert torch.equal(pooled, feature.float().mean(dim=3, keepdim=True).to(dtype))


@needs_library
@pytest.mark.parametrize(
    "change, message",
    [
        ({"rois": torch.zeros(3, 4)}, r"rois must have the shape \[K, 5\].*got \[3, 4\]"),
        ({"scales": [0.25]}, "got 1 scales for 3 feature maps"),
        ({"output_size": (0, 7)}, "the output size must be positive, got 0 x 7"),
        ({"sampling_ratio": -1}, "sampling_ratio must be 0 .* or more, got -1"),
        (
            {"features": [f.double() if i else f for i, f in enumerate(pyramid())]},
            "one dtype, got float32 and float64",
        ),
        ({"features": [f.int() for f in pyramid()]}, "features must be floating, got int32"),
    ],
)
def test_errors_say_what_came(change, message):
    arguments = {
        "features": pyramid(),
        "rois": random_rois(3, batch=2),
        "scales": SCALES,
        "output_size": (7, 7),
        "sampling_ratio": 2,
    }
    with pytest.raises(RuntimeError, match=message):
        multilevel_roi_align(**(arguments | change))


def test_family_signatures():
    feature = pyramid(layout="channels_last")[0]
    rois = random_rois(4, batch=2)
    pooled = roi_align(feature, rois, 7, SCALES[0], 2)
    assert torch.equal(pooled, ROIAlign(7, SCALES[0], 2)(feature, rois))
    assert is_channels_last(pooled)
    assert ROIPool((3, 2), SCALES[0])(feature, rois).shape == (4, 5, 3, 2)
